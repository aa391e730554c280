"""Records of the output topics as rows for a terminal. Pure.

The content of records is untrusted: every character that a terminal could interpret, or that could
hide or reorder others (control, bidirectional and zero-width ones), is escaped.
"""

import json
from typing import Any, Literal

import orjson

from streamlabel.consumer.core.records import SourceRecord
from streamlabel.consumer.observability.columns import Column
from streamlabel.consumer.output.dead_letter_reader import DeadLetter, receipted
from streamlabel.consumer.output.headers import OURS

__all__ = [
    "Kind",
    "cells",
    "columns",
    "dead_letter_cells",
    "dead_letter_columns",
    "dead_letter_json",
    "json_line",
    "printable",
]

Kind = Literal["labels", "review", "dead-letter"]

# A line is an overview; the whole text is in the record and in ``--json``.
_TEXT_CHARACTERS = 200
_NAME_CHARACTERS = 80
# "-12-1234567" after a topic's name: partition and offset.
_NUMBERS_CELLS = 11

_POSITION = ("topic", "partition", "offset")


def printable(text: str, *, limit: int = _NAME_CHARACTERS) -> str:
    r"""Return ``text`` on one line, escaped for a terminal, for example as ``\x1b``."""
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text[:limit]
    )
    return shown + ("…" if len(text) > limit else "")


def columns(kind: Kind, topic: str) -> list[Column]:
    """Return the columns of ``cells``.

    Args:
        kind: of the output topic.
        topic: the input topic, whose positions are the first column.
    """
    first = Column("SOURCE", len(topic) + _NUMBERS_CELLS, is_whole=True)
    if kind == "dead-letter":
        return [first, Column("REASON", 18), Column("MESSAGE")]
    named = [first, Column("LABEL", 14), Column("CONF.", 5), Column("ROUTE OR REASONS", 20)]
    return (
        [*named, Column("ID")] if kind == "labels" else [*named, Column("ID", 10), Column("TEXT")]
    )


def cells(kind: Kind, record: SourceRecord) -> list[str]:
    """Return the readable values of a record, one a column; its text only for review."""
    if kind == "dead-letter":
        if replays := sum(1 for _ in receipted(record)):
            return [str(record.position), "-", f"{replays} dead letter(s) were replayed"]
        return _dead_letter(_about(record))
    message = _message(record)
    if message is None:
        nothing = ["-", "-", "not a record of streamlabel", "-"]
        return [str(record.position), *nothing, *(["-"] if kind == "review" else [])]
    source, reasons = message.get("source"), message.get("reasons")
    place = source if isinstance(source, dict) else {}
    route = str(message.get("route"))
    parts = [
        "-".join(str(place.get(part, "?")) for part in _POSITION),
        str(message.get("label")),
        _number(message.get("confidence")),
        ",".join(map(str, reasons)) if isinstance(reasons, list) and reasons else route,
        str(message.get("id")),
    ]
    shown = [printable(part) for part in parts]
    if kind == "review":
        shown.append(printable(str(message.get("text")), limit=_TEXT_CHARACTERS))
    return shown


def _dead_letter(about: dict[str, str]) -> list[str]:
    position = "-".join(about.get(f"source-{part}", "?") for part in _POSITION)
    reason, message = about.get("error-reason", "unknown"), about.get("error-message", "")
    return [printable(position), printable(reason), printable(message, limit=300)]


def json_line(kind: Kind, record: SourceRecord) -> str:
    """Return one line of JSON in ASCII: the record's own, or what is known about a dead letter."""
    if kind == "dead-letter":
        document: Any = {
            **{name.replace("-", "_"): value for name, value in _about(record).items()},
            "key_bytes": _size(record.key),
            "value_bytes": _size(record.value),
        }
    else:
        document = _message(record)
        if document is None:
            document = {"error": "not a record of streamlabel", "position": str(record.position)}
    return json.dumps(document)


def dead_letter_columns(topic: str, source: str) -> list[Column]:
    """Return the columns of ``dead_letter_cells`` for a dead-letter topic and an input topic."""
    return [
        Column("POSITION", len(topic) + _NUMBERS_CELLS, is_whole=True),
        Column("REASON", 18),
        Column("SOURCE", len(source) + _NUMBERS_CELLS, is_whole=True),
        Column("ATTEMPTS", is_number=True),
        Column("REPLAYS", is_number=True),
        Column("BYTES", 8, is_number=True),
        Column("SINCE", 8),
        Column("MESSAGE"),
    ]


def dead_letter_cells(dead: DeadLetter, *, was_replayed: bool) -> list[str]:
    """Return one row of a list of dead letters."""
    size = _size(dead.record.value)
    return [
        str(dead.record.position),
        printable(dead.reason),
        printable(str(dead.source or "?")),
        str(dead.attempts),
        str(dead.replays),
        "-" if size is None else str(size),
        "replayed" if was_replayed else "-",
        printable(dead.message, limit=300),
    ]


def dead_letter_json(dead: DeadLetter, *, was_replayed: bool) -> str:
    """Return the same as one line of JSON in ASCII."""
    record = dead.record
    document = {
        "position": str(record.position),
        "timestamp_ms": record.timestamp_ms,
        "reason": dead.reason,
        "source": None if dead.source is None else str(dead.source),
        "attempts": dead.attempts,
        "replays": dead.replays,
        "key_bytes": _size(record.key),
        "value_bytes": _size(record.value),
        "is_complete": dead.is_complete,
        "was_replayed": was_replayed,
        "message": dead.message,
    }
    return json.dumps(document)


def _about(record: SourceRecord) -> dict[str, str]:
    return {
        name.removeprefix(OURS): (value or b"").decode("utf-8", "replace")
        for name, value in record.headers
        if name.startswith(OURS)
    }


def _message(record: SourceRecord) -> dict[str, Any] | None:
    try:
        message = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        return None
    return message if isinstance(message, dict) else None


def _number(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float | int) else "-"


def _size(content: bytes | None) -> int | None:
    return None if content is None else len(content)
