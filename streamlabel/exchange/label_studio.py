"""Label Studio's tasks: with predictions and annotations out, with annotations in.

The format is that of its import and of its export "JSON": a list of tasks with ``data``,
``predictions`` and ``annotations``, each with a ``result`` of regions.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from streamlabel.consumer.output.verdict import VerdictMessage
from streamlabel.exchange.judgements import Fault, Judgement, moment

__all__ = ["CONTROL", "judgements_of", "task_of"]

# Names of the labelling configuration: <Choices name="label" toName="text">, <Text name="text">.
CONTROL: Final = "label"
_OBJECT: Final = "text"
_SKIPPED: Final = ("was_cancelled", "skipped")


def task_of(
    facts: Mapping[str, Any],
    text: str,
    *,
    verdicts: Sequence[VerdictMessage] = (),
    is_blind: bool = False,
) -> dict[str, Any]:
    """Return a task.

    Args:
        facts: of the review, see ``judgements.FACTS``.
        text: of the record.
        verdicts: that become annotations.
        is_blind: the model's answer is left out: the person who opens the task would see it.
    """
    task: dict[str, Any] = {
        "data": {
            _OBJECT: text,
            "review_id": facts["review_id"],
            "record_id": facts["id"],
            "task": facts.get("task") or "",
        },
        "predictions": [],
        "annotations": [_annotation(each) for each in verdicts],
    }
    labels = facts.get("model_labels")
    if labels is not None and not is_blind:
        prediction: dict[str, Any] = {
            "model_version": facts.get("deployment_id") or facts.get("model_digest") or "model",
            "result": _result(labels),
        }
        if facts.get("model_confidence") is not None:
            prediction["score"] = facts["model_confidence"]
        task["predictions"] = [prediction]
    return task


def _annotation(verdict: VerdictMessage) -> dict[str, Any]:
    annotation: dict[str, Any] = {
        "result": [] if verdict.labels is None else _result(verdict.labels),
        "was_cancelled": verdict.action == "skip",
        "created_at": verdict.decided_at,
    }
    if verdict.duration_ms is not None:
        annotation["lead_time"] = verdict.duration_ms / 1000
    return annotation


def _result(labels: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "from_name": CONTROL,
            "to_name": _OBJECT,
            "type": "choices",
            "value": {"choices": list(labels)},
        }
    ]


def judgements_of(
    tasks: Iterable[object], *, control: str = CONTROL
) -> tuple[list[Judgement], list[Fault]]:
    """Return the annotations of an export.

    Args:
        tasks: the list of the file.
        control: name of the Choices tag that holds the labels.
    """
    judgements: list[Judgement] = []
    faults: list[Fault] = []
    for number, task in enumerate(tasks, 1):
        place = f"task {number}"
        data = task.get("data") if isinstance(task, Mapping) else None
        review_id = data.get("review_id") if isinstance(data, Mapping) else None
        if not isinstance(task, Mapping) or not isinstance(review_id, str) or not review_id:
            faults.append(Fault(place, "data.review_id is missing: it says which review it is"))
            continue
        annotations = task.get("annotations", task.get("completions"))
        if not isinstance(annotations, list):
            faults.append(Fault(place, "annotations: not a list; export as JSON, not JSON-MIN"))
            continue
        saw = bool(task.get("predictions"))
        for count, annotation in enumerate(annotations, 1):
            found = _judgement(annotation, f"{place}, annotation {count}", review_id, control, saw)
            if isinstance(found, Fault):
                faults.append(found)
            else:
                judgements.append(found)
    return judgements, faults


def _judgement(
    annotation: object, place: str, review_id: str, control: str, saw: bool
) -> Judgement | Fault:
    if not isinstance(annotation, Mapping):
        return Fault(place, "not an object")
    at = moment(annotation.get("created_at")) or moment(annotation.get("updated_at"))
    if at is None:
        return Fault(place, "created_at: missing, or no RFC 3339 time")
    is_skipped = any(annotation.get(name) for name in _SKIPPED)
    labels = _labels(annotation.get("result"), control)
    if isinstance(labels, str):
        return Fault(place, labels)
    return Judgement(
        place=place,
        review_id=review_id,
        labels=labels,
        is_skipped=is_skipped,
        by=_person(annotation.get("completed_by")),
        at=at,
        duration_ms=_milliseconds(annotation.get("lead_time")),
        saw_model_answer=saw,
    )


def _labels(result: object, control: str) -> tuple[str, ...] | str | None:
    """Return the labels; None: nothing was chosen; a text: what is wrong."""
    if not isinstance(result, list):
        return "result: not a list"
    found: list[str] = []
    others: set[str] = set()
    for region in result:
        name = region.get("from_name") if isinstance(region, Mapping) else None
        value = region.get("value") if isinstance(region, Mapping) else None
        choices = value.get("choices") if isinstance(value, Mapping) else None
        if name != control:
            others.add(str(name))
        elif not isinstance(choices, list) or not all(isinstance(each, str) for each in choices):
            return f"{control}: its value has no choices"
        else:
            found += choices
    if others and not found:
        return f"nothing is named {control}, but {', '.join(sorted(others))}; see --control"
    return tuple(found) or None


def _person(value: object) -> str:
    """Return the name of who annotated: an id, or an object with id and email."""
    if isinstance(value, Mapping):
        value = value.get("email") or value.get("id")
    return f"label-studio/{value}" if isinstance(value, str | int) else "label-studio"


def _milliseconds(lead_time: object) -> int | None:
    is_number = isinstance(lead_time, int | float) and not isinstance(lead_time, bool)
    return round(lead_time * 1000) if is_number and 0 <= lead_time < 1e9 else None  # type: ignore[operator]  # a number
