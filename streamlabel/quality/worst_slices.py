"""Slices whose accepted labels are wrong more often than those of the rest, found by themselves.

With many slices one of them always looks bad: the probabilities are corrected for their number.
"""

from dataclasses import dataclass

from streamlabel.quality.accepted import Accepted, Slice

__all__ = ["WorseSlice", "worse_slices"]

_LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class WorseSlice:
    """A slice with more errors than the rest.

    Attributes:
        slice: its counts.
        elsewhere: error rate of accepted labels outside of it.
        probability: of as many errors in any of the slices by chance.
        compared: number of slices.
    """

    slice: Slice
    elsewhere: float
    probability: float
    compared: int

    def __str__(self) -> str:
        """Return a sentence."""
        found = self.slice
        here = found.wrong / found.accepted
        line = (
            f"{found.field} {found.value}: {here:.1%} of {found.accepted:,} accepted labels are"
            f" wrong, {self.elsewhere:.1%} elsewhere (p {self.probability:.2g}, corrected for"
            f" {self.compared} slices)"
        )
        return line.replace("%", " %")


def worse_slices(found: Accepted) -> list[WorseSlice]:
    """Return the slices with significantly more errors than the rest, the clearest one first.

    Each slice is compared with all other accepted texts by Fisher's exact test, one-sided; the
    probabilities are corrected together (Holm 1979), so that any of them is named by chance in at
    most 5 % of the evaluations.
    """
    tested = [each for each in found.slices if 0 < each.accepted < found.accepted]
    ranked = sorted(((_chance(each, found), i) for i, each in enumerate(tested)))
    named: list[WorseSlice] = []
    least = 0.0
    for place, (chance, index) in enumerate(ranked):
        least = max(least, min(1.0, chance * (len(tested) - place)))
        if least > _LEVEL:
            break
        each = tested[index]
        rest = (found.wrong - each.wrong) / (found.accepted - each.accepted)
        named.append(WorseSlice(each, rest, least, len(tested)))
    return named


def _chance(part: Slice, whole: Accepted) -> float:
    """Return the probability of at least as many errors in a random part of the same size."""
    from scipy.stats import hypergeom  # noqa: PLC0415 scipy comes with an extra

    return float(hypergeom.sf(part.wrong - 1, whole.accepted, whole.wrong, part.accepted))
