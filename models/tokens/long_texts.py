"""The long-text policy: which tokens of a text the model receives, and in which rows."""

from dataclasses import dataclass
from typing import Literal

from streamlabel.errors import ConfigError

__all__ = ["LongText", "LongTextPolicy"]

LongText = Literal["truncate", "windows", "review"]


@dataclass(frozen=True, slots=True)
class LongTextPolicy:
    """Cuts a text's tokens into rows, and reports whether the model receives all of them.

    Attributes:
        capacity_tokens: tokens of the text that fit in one row, special tokens not included.
        long_text: ``truncate`` and ``review`` keep the first row; ``windows`` continues in
            overlapping rows.
        overlap_tokens: tokens that two neighbouring windows share.
        max_windows: maximum number of windows; further ones are dropped.

    Raises:
        ConfigError: the overlap leaves no room for new tokens in a window.
    """

    capacity_tokens: int
    long_text: LongText = "truncate"
    overlap_tokens: int = 0
    max_windows: int = 1

    def __post_init__(self) -> None:
        if self.capacity_tokens < 1:
            raise ConfigError(
                "model.max_tokens: the special tokens leave no room for a text; raise it"
            )
        if self.long_text == "windows" and self.overlap_tokens >= self.capacity_tokens:
            raise ConfigError(
                f"model.window_stride_tokens: {self.overlap_tokens} is not less than the"
                f" {self.capacity_tokens} text tokens of a window; lower it"
            )

    @property
    def limit_tokens(self) -> int:
        """Maximum number of a text's tokens that the model receives."""
        if self.long_text != "windows":
            return self.capacity_tokens
        step = self.capacity_tokens - self.overlap_tokens
        return self.capacity_tokens + (self.max_windows - 1) * step

    def spans(self, length_tokens: int) -> list[tuple[int, int]]:
        """Return [start, end) of every row of a text of that length; at least one row.

        The rows cover the first ``limit_tokens`` tokens. The last one may be short: it is not
        shifted back, so that a window always starts at the same token wherever the text ends.
        """
        end = min(length_tokens, self.limit_tokens)
        if end <= self.capacity_tokens:
            return [(0, end)]
        step = self.capacity_tokens - self.overlap_tokens
        count = 1 + -(-(end - self.capacity_tokens) // step)
        return [(i * step, min(i * step + self.capacity_tokens, end)) for i in range(count)]
