"""Faults of labelled data that training would learn: labels in two spellings, contradictions. Pure.

Two texts are near-duplicates here if they have the same letters in the same order, whatever their
case, digits, punctuation and spaces are: the waves in which spam comes differ in just these.
"""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from streamlabel.errors import ConfigError
from streamlabel.quality.labelled import LabelledText

__all__ = ["Repeats", "refuse_spellings", "repeats_in"]

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Repeats:
    """Near-duplicates in a file.

    Attributes:
        repeated: texts that are near-duplicates of an earlier one.
        contradictory: (first line, later line) of those with other labels.
    """

    repeated: int
    contradictory: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        """Return a sentence; empty if there are none."""
        if not self.repeated:
            return ""
        said = f"{self.repeated:,} texts repeat an earlier one, but for digits and punctuation"
        if not self.contradictory:
            return said
        pairs = "; ".join(f"lines {a} and {b}" for a, b in self.contradictory[:_SHOWN])
        more = len(self.contradictory) - _SHOWN
        return (
            f"{said}; {len(self.contradictory):,} of them have another label, so one of the two is"
            f" wrong: {pairs}" + (f"; and {more:,} more" if more > 0 else "")
        )


def _alike(label: str) -> str:
    """Return the form in which labels are compared: without case, and spaces at the ends."""
    return " ".join(unicodedata.normalize("NFKC", label).casefold().split())


def refuse_spellings(texts: Sequence[LabelledText], name: str) -> None:
    """Raise ConfigError if labels differ in case and spaces only: they would become two classes.

    Args:
        texts: labelled.
        name: of their file.
    """
    counts = Counter(label for text in texts for label in text.labels)
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for label in counts:
        groups[_alike(label)].append(label)
    found = [
        ", ".join(f"{label!r} ({counts[label]:,} texts)" for label in sorted(group))
        for group in groups.values()
        if len(group) > 1
    ]
    if found:
        raise ConfigError(
            f"{name}: labels that differ in case or spaces only would become classes of their own:"
            f" {'; '.join(found[:_SHOWN])}. Write each label in one way"
        )


def repeats_in(texts: Sequence[LabelledText]) -> Repeats:
    """Return the near-duplicates among texts."""
    first: dict[str, LabelledText] = {}
    repeated = 0
    contradictory = []
    for text in texts:
        letters = "".join(filter(str.isalpha, text.text.casefold()))
        if not letters:
            continue
        found = first.setdefault(letters, text)
        repeated += found is not text
        if set(found.labels) != set(text.labels):
            contradictory.append((found.line, text.line))
    return Repeats(repeated, tuple(contradictory))
