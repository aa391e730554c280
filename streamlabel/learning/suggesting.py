"""Which texts to label next: half of them uncertain ones, half drawn at random. Pure.

The random half stands for the rest of the traffic, with weights; the uncertain half alone would
teach the model a distribution that does not exist. Near-duplicates of a chosen text are left out.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson

from streamlabel.quality.labelled import plain

__all__ = ["Candidate", "Suggestion", "candidates_in", "suggest"]

# Characters of the pieces that texts are compared by, and share of common pieces from which on two
# texts are near-duplicates.
_PIECE = 5
_ALIKE = 0.8


@dataclass(frozen=True, slots=True)
class Candidate:
    """A text that could be labelled.

    Attributes:
        margin: between the two most probable labels; 0 without an answer.
        probability: of having come to review, in (0, 1].
    """

    id: str
    text: str
    label: str | None
    margin: float
    probability: float


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A text to label.

    Attributes:
        why: ``uncertain`` or ``random``.
        weight: number of texts of the traffic that it stands for, in training.
    """

    candidate: Candidate
    why: str
    weight: float

    def line(self) -> bytes:
        """Return it as a line of JSON, to which a label is added."""
        found = self.candidate
        return orjson.dumps(
            {
                "id": found.id,
                "text": found.text,
                "model_label": found.label,
                "margin": round(found.margin, 4),
                "why": self.why,
                "weight": round(self.weight, 3),
            }
        )


def candidates_in(lines: Iterable[bytes]) -> Iterator[Candidate]:
    """Yield the texts of review records, each id once; other lines are left out."""
    seen: set[str] = set()
    for line in lines:
        try:
            message = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if not isinstance(message, dict) or message.get("text_truncated"):
            continue
        name, text = message.get("id"), message.get("text")
        if isinstance(name, str) and isinstance(text, str) and name not in seen:
            seen.add(name)
            yield _candidate(name, text, message)


def _candidate(name: str, text: str, message: dict[str, Any]) -> Candidate:
    label = message.get("label")
    margin = message.get("margin")
    if margin is None:  # a multi-label task: confidence is at least 0.5
        margin = 2 * (message.get("confidence") or 0.5) - 1
    probability = message.get("audit_probability") or 1.0
    return Candidate(name, text, label, float(margin), float(probability))


def suggest(
    candidates: Sequence[Candidate], *, count: int, labelled: Iterable[str] = (), seed: int = 0
) -> list[Suggestion]:
    """Return up to ``count`` texts, the most helpful ones first.

    Args:
        candidates: texts that came to review.
        count: how many.
        labelled: texts that have a label already.
        seed: of the random half.
    """
    distinct = _Distinct(labelled)
    ranked = sorted(candidates, key=lambda each: each.margin)
    uncertain = list(islice(filter(distinct.is_new, ranked), count // 2))
    taken = {each.id for each in uncertain}
    rest = [each for each in candidates if each.id not in taken]
    drawn = _drawn(rest, random.Random(seed))  # noqa: S311 a sample, no secret
    kept = list(islice(filter(distinct.is_new, drawn), count - len(uncertain)))
    traffic = sum(1 / each.probability for each in rest)
    weight = traffic / len(kept) if kept else 0.0
    return [
        *(Suggestion(each, "uncertain", 1.0) for each in uncertain),
        *(Suggestion(each, "random", weight) for each in kept),
    ]


class _Distinct:
    """Recognizes texts that are new: neither labelled, nor alike to a chosen one."""

    def __init__(self, labelled: Iterable[str]) -> None:
        self._known = {plain(text) for text in labelled}
        self._pieces: list[frozenset[str]] = []

    def is_new(self, candidate: Candidate) -> bool:
        """Return whether it is; from then on it counts as chosen."""
        text = plain(candidate.text)
        pieces = _pieces(text)
        if text in self._known or any(_alike(pieces, other) for other in self._pieces):
            return False
        self._known.add(text)
        self._pieces.append(pieces)
        return True


def _drawn(rest: Sequence[Candidate], rng: random.Random) -> list[Candidate]:
    """Return the texts in random order, each first with a chance of its inverse probability.

    Source: weighted sampling without replacement, Efraimidis & Spirakis 2006.
    """
    keys = {each.id: rng.random() ** each.probability for each in rest}
    return sorted(rest, key=lambda each: -keys[each.id])


def _pieces(text: str) -> frozenset[str]:
    return frozenset(text[i : i + _PIECE] for i in range(max(1, len(text) - _PIECE + 1)))


def _alike(first: frozenset[str], second: frozenset[str]) -> bool:
    common = len(first & second)
    return common >= _ALIKE * (len(first) + len(second) - common)
