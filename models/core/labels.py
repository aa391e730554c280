"""The ordered classes of a task."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from streamlabel.errors import ConfigError

__all__ = ["LabelSet", "ProblemType"]

# Maximum number of labels that a message lists; a model may have thousands.
_NAMED: Final = 10

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
        repeated = sorted(name for name, count in Counter(self.names).items() if count > 1)
        if repeated:
            raise ConfigError(f"labels must be distinct, repeated: {_listed(repeated)}")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def listed(self) -> str:
        """The names for a message: the first ten, and how many more."""
        return _listed(self.names)

    def index(self, name: str) -> int:
        """Return the place of ``name`` in every probability tuple; ValueError if unknown."""
        return self.names.index(name)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
