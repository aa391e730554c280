"""What somebody decided in another tool, and the verdict that it becomes."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import ValidationError

from streamlabel.consumer.output.verdict import VerdictMessage

__all__ = ["FACTS", "Fault", "Judgement", "facts_of", "moment", "text_of", "verdicts_of"]

# Fields of a verdict that say what was reviewed, and not what came of it.
FACTS: Final = (
    "review_id",
    "id",
    "task",
    "model_labels",
    "model_confidence",
    "model_probabilities",
    "raw_probabilities",
    "look",
    "purpose",
    "reasons",
    "review_probability",
    "deployment_id",
    "model_digest",
    "calibration_id",
    "threshold_set_id",
    "source",
)


@dataclass(frozen=True, slots=True)
class Fault:
    """What could not become a verdict.

    Attributes:
        place: in the file, for example ``task 17``.
        why: what to change, without the text.
    """

    place: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One person's answer about one review.

    Attributes:
        place: in the file.
        labels: None: none was given (skipped, or not sure).
        is_skipped: left for others, or discarded.
        by: name of the person in the other tool; becomes a pseudonym.
        saw_model_answer: whether the tool could show it.
    """

    place: str
    review_id: str
    labels: tuple[str, ...] | None
    by: str
    at: datetime
    is_skipped: bool = False
    duration_ms: int | None = None
    saw_model_answer: bool = True


def facts_of(verdict: VerdictMessage) -> Mapping[str, Any]:
    """Return what a verdict says about its review."""
    found = verdict.model_dump()
    return {name: found[name] for name in FACTS}


def moment(value: object) -> datetime | None:
    """Return a time of RFC 3339, in UTC; None if it is none. Without an offset it is UTC."""
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def text_of(at: datetime) -> str:
    """Return a time as a verdict has it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def verdicts_of(
    judgements: Sequence[Judgement],
    known: Mapping[str, Mapping[str, Any]],
    *,
    pseudonym: Callable[[str], str],
) -> tuple[list[VerdictMessage], list[Fault]]:
    """Return the verdicts of judgements; several about one review are looks, oldest first.

    Args:
        judgements: in any order.
        known: review id -> its facts (``FACTS``), from the console or the verdicts topic. Of a
            review that is not in it only the id is known, and it counts in no weighted fit.
        pseudonym: of a name.
    """
    by_review: dict[str, list[Judgement]] = defaultdict(list)
    for each in judgements:
        by_review[each.review_id].append(each)
    verdicts, faults = [], []
    for review_id, given in by_review.items():
        facts = known.get(review_id, {"review_id": review_id, "id": review_id})
        first = int(facts.get("look", 1))
        for number, each in enumerate(sorted(given, key=lambda one: one.at)):
            try:
                verdicts.append(_verdict(each, facts, first + number, pseudonym(each.by)))
            except ValidationError as error:
                names = {str(fault["loc"][0]) for fault in error.errors() if fault["loc"]}
                why = f"is no verdict: see {', '.join(sorted(names)) or 'its labels'}"
                faults.append(Fault(each.place, why))
    return verdicts, faults


def _verdict(
    judgement: Judgement, facts: Mapping[str, Any], look: int, reviewer: str
) -> VerdictMessage:
    model = facts.get("model_labels")
    is_further = look != facts.get("look", 1)
    action = "skip" if judgement.is_skipped else "unsure"
    labels = None
    if judgement.labels is not None and not judgement.is_skipped:
        labels = list(dict.fromkeys(judgement.labels))
        action = "confirm" if model is not None and set(labels) == set(model) else "correct"
    fields: dict[str, Any] = {"review_probability": None, **facts}
    if is_further:
        fields |= {
            "review_id": f"{judgement.review_id}#{look}",
            "look": look,
            "purpose": "second_look",
        }
    return VerdictMessage.model_validate(
        fields
        | {
            "action": action,
            "labels": labels,
            "saw_model_answer": judgement.saw_model_answer,
            "reviewer": reviewer,
            "decided_at": text_of(judgement.at),
            "duration_ms": judgement.duration_ms,
        }
    )
