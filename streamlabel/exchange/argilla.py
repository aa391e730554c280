"""Argilla's records, as ``dataset.records.to_json`` writes them, with responses.

A record has ``metadata``, ``suggestions`` and ``responses``: by question a list of values with the
id of who gave them. It has no times.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from streamlabel.exchange.judgements import Fault, Judgement

__all__ = ["judgements_of"]


def judgements_of(
    records: Iterable[object], *, at: datetime, question: str | None = None
) -> tuple[list[Judgement], list[Fault]]:
    """Return the responses of an export.

    Args:
        records: the list of the file.
        at: when they were given: the file does not say.
        question: whose answers are the labels; None: the only one of each record.
    """
    judgements: list[Judgement] = []
    faults: list[Fault] = []
    for number, record in enumerate(records, 1):
        place = f"record {number}"
        found = _judgements(record, place, at, question)
        if isinstance(found, str):
            faults.append(Fault(place, found))
        else:
            judgements += found
    return judgements, faults


def _judgements(
    record: object, place: str, at: datetime, question: str | None
) -> list[Judgement] | str:
    if not isinstance(record, Mapping):
        return "not an object"
    metadata = record.get("metadata")
    review_id = metadata.get("review_id") if isinstance(metadata, Mapping) else None
    review_id = review_id or record.get("id")
    if not isinstance(review_id, str) or not review_id:
        return "neither metadata.review_id nor id says which review it is"
    responses = record.get("responses") or {}
    if not isinstance(responses, Mapping):
        return "responses: not an object; export with to_json, not flattened"
    name = question or next(iter(responses), "")
    if question is None and len(responses) > 1:
        return f"has several questions ({', '.join(sorted(responses))}): name one by --question"
    given = responses.get(name) or []
    answers = [_answer(each) for each in (given if isinstance(given, list) else [given])]
    if any(labels is not None and not _are_labels(labels) for labels, _ in answers):
        return f"{name}: an answer is neither a label nor a list of labels"
    return [
        Judgement(
            place=place,
            review_id=review_id,
            labels=None if labels is None else tuple(labels),
            is_skipped=labels is None,
            by=person,
            at=at,
            saw_model_answer=name in (record.get("suggestions") or {}),
        )
        for labels, person in answers
    ]


def _answer(response: object) -> tuple[Any, str]:
    """Return what was answered, a list if it is one label, and who did."""
    if not isinstance(response, Mapping):
        return None, "argilla"
    value, user = response.get("value"), response.get("user_id")
    return [value] if isinstance(value, str) else value, f"argilla/{user}" if user else "argilla"


def _are_labels(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
