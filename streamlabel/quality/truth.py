"""True labels for a comparison: labelled texts, or the verdicts of people."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import orjson

from streamlabel.consumer.output.verdict import SCHEMA, VerdictMessage, read_verdict
from streamlabel.errors import ConfigError, VerdictError
from streamlabel.quality.comparing import Answer, Key
from streamlabel.quality.labelled import true_labels

__all__ = ["KnownLabels", "Truth", "read_truth"]

# These records were chosen because their answers are known; they do not represent the traffic.
_CHOSEN: Final = "gold"


@dataclass(frozen=True, slots=True)
class KnownLabels:
    """The true labels of a record.

    Attributes:
        labels: exactly these.
        weight: inverse of the probability with which it was looked at; None: not known.
    """

    labels: Answer
    weight: float | None = 1.0


@dataclass(slots=True)
class Truth:
    """What is known about records.

    Attributes:
        known: in the order in which it became known. Without a task in the key, of every task.
        undecided: verdicts without a decision, which are not used.
        chosen: verdicts about records whose answer was known before, which are not used.
        saw_answer: verdicts given with a model's answer in view.
        are_verdicts: whether people decided about records of the stream.
    """

    known: dict[Key, KnownLabels] = field(default_factory=dict)
    undecided: int = 0
    chosen: int = 0
    saw_answer: int = 0
    are_verdicts: bool = False

    def of(self, key: Key) -> KnownLabels | None:
        """Return what is known about a record of a task."""
        return self.known.get(key) or self.known.get(Key(key.id, ""))


def read_truth(path: Path) -> Truth:
    """Return the true labels in a file: labelled texts, or verdicts as JSON lines.

    Of several verdicts about a record the one of the last look counts, and of equal looks the
    latest.

    Raises:
        ConfigError: the file cannot be read, or a line is wrong.
    """
    if not _has_verdicts(path):
        labels = true_labels(path)
        return Truth({Key(name, ""): KnownLabels(frozenset(of)) for name, of in labels.items()})
    truth = Truth(are_verdicts=True)
    last: dict[Key, VerdictMessage] = {}
    for verdict in _verdicts(path):
        key = Key(verdict.id, verdict.task or "")
        before = last.get(key)
        if before is None or _place(before) <= _place(verdict):
            last[key] = verdict
    for key, verdict in sorted(last.items(), key=lambda item: item[1].decided_at):
        if verdict.purpose == _CHOSEN:
            truth.chosen += 1
        elif verdict.labels is None:
            truth.undecided += 1
        else:
            truth.saw_answer += verdict.saw_model_answer
            truth.known[key] = KnownLabels(frozenset(verdict.labels), verdict.weight)
    return truth


def _place(verdict: VerdictMessage) -> tuple[int, str]:
    return verdict.look, verdict.decided_at


def _has_verdicts(path: Path) -> bool:
    """Return whether the first line with content is a verdict."""
    try:
        with path.open("rb") as lines:
            first = next((line for line in lines if line.strip()), b"")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        message = orjson.loads(first)
    except orjson.JSONDecodeError:
        return False
    return isinstance(message, dict) and message.get("schema") == SCHEMA


def _verdicts(path: Path) -> Iterator[VerdictMessage]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    yield read_verdict(line)
                except VerdictError as error:
                    raise ConfigError(f"{path}, line {number}: {error}") from error
