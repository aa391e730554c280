"""Records of the output topics as lines for a terminal. Pure.

What a record holds is a stranger's: every character that a terminal could act on, or that could
hide or reorder others (control, bidirectional and zero-width ones), is written as an escape.
"""

import json
from typing import Any, Literal

import orjson

from streamlabel.consumer.headers import OURS
from streamlabel.consumer.records import SourceRecord
from streamlabel.consumer.replay import DeadLetter, receipted

__all__ = ["Kind", "dead_letter_json", "dead_letter_row", "json_line", "line", "printable"]

Kind = Literal["labels", "review", "dead-letter"]

# A line is for a glance; the whole text is in the record and in ``--json``.
_TEXT_CHARACTERS = 200
_NAME_CHARACTERS = 80

_POSITION = ("topic", "partition", "offset")


def printable(text: str, *, limit: int = _NAME_CHARACTERS) -> str:
    r"""Return ``text`` on one line, harmless for a terminal: ``\x1b`` and its like escaped."""
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text[:limit]
    )
    return shown + ("…" if len(text) > limit else "")


def line(kind: Kind, record: SourceRecord) -> str:
    """Return one readable line; the text of a record only for review."""
    if kind == "dead-letter":
        if replays := sum(1 for _ in receipted(record)):
            return f"{record.position}  {replays} dead letter(s) were replayed"
        return _dead_letter_line(_about(record))
    message = _message(record)
    if message is None:
        return f"{record.position}  not one of our records"
    source, reasons = message.get("source"), message.get("reasons")
    place = source if isinstance(source, dict) else {}
    route = str(message.get("route"))
    parts = [
        "-".join(str(place.get(part, "?")) for part in _POSITION),
        str(message.get("label")),
        _number(message.get("confidence")),
        ",".join(map(str, reasons)) if isinstance(reasons, list) and reasons else route,
        f"id={message.get('id')}",
    ]
    shown = "  ".join(map(printable, parts))
    if kind == "review":
        shown += f"  {printable(str(message.get('text')), limit=_TEXT_CHARACTERS)}"
    return shown


def _dead_letter_line(about: dict[str, str]) -> str:
    position = "-".join(about.get(f"source-{part}", "?") for part in _POSITION)
    reason, message = about.get("error-reason", "unknown"), about.get("error-message", "")
    return f"{printable(position)}  {printable(reason)}: {printable(message, limit=300)}"


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
            document = {"error": "not one of our records", "position": str(record.position)}
    return json.dumps(document)


def dead_letter_row(dead: DeadLetter, *, was_replayed: bool) -> str:
    """Return a row for a list of dead letters; columns as ``streamlabel dlq list`` says."""
    record = dead.record
    size = _size(record.value)
    parts = [
        str(record.position),
        f"{printable(dead.reason):<18}",
        printable(str(dead.source or "?")),
        f"{dead.attempts:>2}",
        f"{dead.replays:>2}",
        f"{'-' if size is None else size:>8}",
        "replayed" if was_replayed else "-       ",
        printable(dead.message, limit=300),
    ]
    return "  ".join(parts)


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
