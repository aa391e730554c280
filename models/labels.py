"""The ordered classes of a task."""

from dataclasses import dataclass
from typing import Literal

from streamlabel.errors import ConfigError

__all__ = ["LabelSet", "ProblemType"]

ProblemType = Literal["single_label", "multi_label"]


@dataclass(frozen=True, slots=True)
class LabelSet:
    """The classes a model chooses from; the order is the order of every probability tuple.

    Attributes:
        names: K distinct, non-blank names.
        problem_type: ``single_label``: exactly one class is right (softmax);
            ``multi_label``: each class is right or wrong on its own (sigmoid).

    Raises:
        ConfigError: fewer than two names for ``single_label``, a blank or a repeated name.
    """

    names: tuple[str, ...]
    problem_type: ProblemType = "single_label"

    def __post_init__(self) -> None:
        least = 2 if self.problem_type == "single_label" else 1
        if len(self.names) < least:
            raise ConfigError(
                f"a {self.problem_type} task needs at least {least} labels, got {len(self.names)}"
            )
        if any(not name.strip() for name in self.names):
            raise ConfigError("a label is blank; give every class of the model a name")
        repeated = sorted({name for name in self.names if self.names.count(name) > 1})
        if repeated:
            raise ConfigError(f"labels must be distinct, repeated: {', '.join(repeated)}")

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """Return the place of ``name`` in every probability tuple; ValueError if unknown."""
        return self.names.index(name)
