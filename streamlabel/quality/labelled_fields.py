"""The fields of a labelled text in a file, read or refused with the fault."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from streamlabel.consumer.observability.terminal_format import printable
from streamlabel.models.core.turns import as_turns, write_turns

__all__ = ["LabelledText", "text_of"]


@dataclass(frozen=True, slots=True)
class LabelledText:
    """One text and its correct labels.

    Attributes:
        line: in its file, from 1.
        id: from the file; None if it has none.
        labels: one for a single_label task, any number for multi_label.
        fields: (name, value) of further fields that were asked for.
        weight: > 0, how many texts of the traffic it stands for; 1 if the file has no weights.
        has_messages: the file has messages, and ``text`` is their conversation.
    """

    line: int
    text: str
    labels: tuple[str, ...]
    id: str | None = None
    fields: tuple[tuple[str, str], ...] = ()
    weight: float = 1.0
    has_messages: bool = False


def text_of(
    line: int, fields: dict[str, Any], known: Sequence[str] | None, several: bool
) -> LabelledText | str:
    """Return the text, or its fault."""
    has_messages = fields.get("messages") is not None and fields.get("text") is None
    text: Any = fields.get("text")
    if has_messages:
        text, fault = _conversation(fields["messages"])
        if fault:
            return fault
    if not isinstance(text, str):
        return '"text" is missing or not a string'
    if not text.strip():
        return "the text is empty; remove the line"
    labels = _labels(fields, known, several)
    if isinstance(labels, str):
        return labels
    weight = _weight(fields.get("weight"))
    if weight is None:
        return '"weight" must be a number above 0'
    found = fields.get("id")
    return LabelledText(
        line,
        text,
        labels,
        None if found is None else str(found),
        weight=weight,
        has_messages=has_messages,
    )


def _conversation(messages: object) -> tuple[str, str]:
    """Return the conversation of a list of messages, or its fault."""
    if not isinstance(messages, list):
        return "", '"messages" is not a list of turns; write JSON lines'
    try:
        turns = as_turns(messages)
    except ValueError as error:
        return "", f'"messages": {error}'
    if not turns[-1].content.strip():
        return "", "the last turn is empty; remove the line"
    return write_turns(turns), ""


def _weight(given: object) -> float | None:
    """Return the weight, 1 without one; None: it is none."""
    if given is None or given == "":
        return 1.0
    try:
        weight = float(str(given))
    except ValueError:
        return None
    return weight if 0 < weight < math.inf else None


def _labels(
    fields: dict[str, Any], known: Sequence[str] | None, several: bool
) -> tuple[str, ...] | str:
    """Return the labels, or their fault."""
    labels = fields.get("labels", fields.get("label"))
    if labels is None:
        return '"label" is missing; add it, or remove the line'
    if isinstance(labels, str):
        labels = [labels]
    if not isinstance(labels, list) or not all(isinstance(x, str) and x.strip() for x in labels):
        return 'a label must be a string that is not blank; "labels" is a list of them'
    if not several and len(labels) != 1:
        return f"{len(labels)} labels, but the task has exactly one per text"
    unknown = [label for label in labels if known is not None and label not in known]
    if unknown:
        names, one = ", ".join(map(printable, known or ())), unknown[0]
        alike = [name for name in known or () if name.casefold() == one.strip().casefold()]
        hint = f", write {printable(alike[0])!r}" if alike else ""
        return f"label {printable(one[:40])!r} is unknown{hint}; the labels are {names}"
    return tuple(labels)
