"""The effect of other thresholds on recorded outputs: a dry run without a model."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from streamlabel.errors import ConfigError
from streamlabel.models.calibration.binomial_bounds import upper_bound

__all__ = ["Change", "LabelChange", "Recorded", "dry_run"]

# Review reasons that depend on thresholds; with any other reason a text goes to review regardless.
_OURS = {"low_confidence", "audit"}
# Under this name texts are counted of which every label is a no.
_NO_LABEL = "(no label)"


@dataclass(slots=True)
class LabelChange:
    """Texts of one chosen label."""

    texts: int = 0
    review_before: int = 0
    review_after: int = 0


@dataclass(slots=True)
class Change:
    """The effect of other thresholds.

    Attributes:
        by_label: chosen label -> counts.
        judged_before: accepted texts with a known true label, before.
        wrong_before: number of these with a wrong label.
        unread: lines that are not outputs with a decision (dead letters, other records).
    """

    by_label: dict[str, LabelChange] = field(default_factory=dict)
    judged_before: int = 0
    wrong_before: int = 0
    judged_after: int = 0
    wrong_after: int = 0
    unread: int = 0

    @property
    def texts(self) -> int:
        """Number of texts with a decision."""
        return sum(label.texts for label in self.by_label.values())

    @property
    def review_before(self) -> float:
        """Fraction of texts in review, before."""
        return sum(label.review_before for label in self.by_label.values()) / self.texts

    @property
    def review_after(self) -> float:
        """Fraction of texts in review, after."""
        return sum(label.review_after for label in self.by_label.values()) / self.texts

    def bounds(self, confidence: float) -> tuple[float, float] | None:
        """Return the upper bound of the error among accepted texts, before and after.

        None if the true labels are not known.
        """
        if not self.judged_before and not self.judged_after:
            return None
        return (
            upper_bound(self.wrong_before, self.judged_before, confidence=confidence),
            upper_bound(self.wrong_after, self.judged_after, confidence=confidence),
        )


class Recorded:
    """The outputs of a file of JSON lines, each id once: a copy is in both topics.

    Attributes:
        unread: lines without a decision that were passed so far.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.unread = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the outputs.

        Raises:
            ConfigError: the file cannot be read, or has no outputs.
        """
        ids: set[str] = set()
        try:
            with self._path.open("rb") as lines:
                for line in lines:
                    output = _output(line)
                    if output is None:
                        self.unread += bool(line.strip())
                    elif output["id"] not in ids:
                        ids.add(output["id"])
                        yield output
        except OSError as error:
            raise ConfigError(f"{self._path}: cannot be read ({error.strerror})") from error
        if not ids:
            raise ConfigError(
                f"{self._path}: has no outputs; record the labels and review topics, or use the"
                " output of streamlabel classify"
            )


def dry_run(
    path: Path, thresholds: Mapping[str, float], truth: Mapping[str, tuple[str, ...]]
) -> Change:
    """Return the effect that ``thresholds`` would have had.

    Args:
        path: outputs as JSON lines, from the labels and review topics or from streamlabel classify.
        thresholds: label -> minimum confidence; ``*`` for all others; a label without a threshold
            keeps its decisions.
        truth: id -> true labels, if known.

    Raises:
        ConfigError: the file cannot be read, has no outputs, or has none of a given label.
    """
    change = Change()
    seen: set[str] = set()
    is_partial = False
    recorded = Recorded(path)
    for output in recorded:
        seen.update(output["probabilities"])
        is_partial |= "probabilities_left_out" in output
        _count(change, output, thresholds, truth.get(output["id"]))
    change.unread = recorded.unread
    unknown = sorted(set(thresholds) - seen - {"*"})
    if unknown and not is_partial:  # if labels were omitted, an unknown label may still exist
        raise ConfigError(
            f"--set: {', '.join(unknown)}: the outputs have {', '.join(sorted(seen))}"
        )
    return change


def _output(line: bytes) -> dict[str, Any] | None:
    try:
        output = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    needed = ("id", "confidence", "probabilities", "route", "reasons")
    if not isinstance(output, dict) or any(output.get(name) is None for name in needed):
        return None
    is_named = isinstance(output.get("label"), str) or output.get("labels") == []
    return output if is_named else None


def _count(
    change: Change,
    output: dict[str, Any],
    thresholds: Mapping[str, float],
    truth: tuple[str, ...] | None,
) -> None:
    label = change.by_label.setdefault(output["label"] or _NO_LABEL, LabelChange())
    # a copy was accepted although it was also reviewed; an audit does not mean low confidence
    doubts = set(output["reasons"]) - {"audit"}
    before = bool(doubts)
    after = bool(doubts - _OURS) or _is_unsure(output, thresholds, before=before)
    label.texts += 1
    label.review_before += before
    label.review_after += after
    if truth is None:
        return
    decided = output.get("labels", [output["label"]])
    wrong = set(decided) != set(truth)
    change.judged_before += not before
    change.wrong_before += wrong and not before
    change.judged_after += not after
    change.wrong_after += wrong and not after


def _is_unsure(output: dict[str, Any], thresholds: Mapping[str, float], *, before: bool) -> bool:
    if "labels" not in output:
        limit = thresholds.get(output["label"], thresholds.get("*"))
        return before if limit is None else output["confidence"] < limit
    limits = {name: thresholds.get(name, thresholds.get("*")) for name in output["probabilities"]}
    known = [
        max(p, 1 - p) < limit
        for name, p in output["probabilities"].items()
        if (limit := limits[name]) is not None
    ]
    unsure = output.get("unsure_labels")
    if unsure is not None:  # of labels without a new threshold it says which were unsure
        return any(known) or any(limits.get(name) is None for name in unsure)
    is_partial = len(known) < len(limits) or "probabilities_left_out" in output
    return any(known) or (before and is_partial)
