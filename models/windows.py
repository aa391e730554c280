"""The long-text policy: which tokens of a text the model gets to see, and in which rows."""

from dataclasses import dataclass
from typing import Literal

from streamlabel.errors import ConfigError

__all__ = ["LongText", "LongTextPolicy"]

LongText = Literal["truncate", "windows", "review"]


@dataclass(frozen=True, slots=True)
class LongTextPolicy:
    """Cuts a text's tokens into rows; says so whenever the model will not see all of them.

    Attributes:
        capacity_tokens: tokens of the text that fit in one row, special tokens not included.
        long_text: ``truncate`` and ``review`` keep the first row; ``windows`` reads on in
            overlapping rows.
        overlap_tokens: tokens that two neighbouring windows share.
        max_windows: a text keeps its first ones.

    Raises:
        ConfigError: the overlap leaves a window nothing new to read.
    """

    capacity_tokens: int
    long_text: LongText = "truncate"
    overlap_tokens: int = 0
    max_windows: int = 1

    def __post_init__(self) -> None:
        if self.capacity_tokens < 1:
            raise ConfigError(
                "model.max_tokens: no room is left beside the special tokens; raise it"
            )
        if self.long_text == "windows" and self.overlap_tokens >= self.capacity_tokens:
            raise ConfigError(
                f"model.window_stride_tokens: {self.overlap_tokens} is not less than the"
                f" {self.capacity_tokens} text tokens of a window; lower it"
            )

    @property
    def limit_tokens(self) -> int:
        """Tokens of a text that the model sees at most."""
        if self.long_text != "windows":
            return self.capacity_tokens
        step = self.capacity_tokens - self.overlap_tokens
        return self.capacity_tokens + (self.max_windows - 1) * step

    def spans(self, length_tokens: int) -> list[tuple[int, int]]:
        """Return [start, end) of every row of a text of that length; at least one row.

        The rows cover the first ``limit_tokens`` tokens. The last one may be short: it is never
        shifted back, so that equal windows have equal numbers wherever the text ends.
        """
        end = min(length_tokens, self.limit_tokens)
        if end <= self.capacity_tokens:
            return [(0, end)]
        step = self.capacity_tokens - self.overlap_tokens
        count = 1 + -(-(end - self.capacity_tokens) // step)
        return [(i * step, min(i * step + self.capacity_tokens, end)) for i in range(count)]
