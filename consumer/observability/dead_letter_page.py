"""One dead letter as a page for a terminal, or as JSON. Pure; see ``terminal_format``."""

import json
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

from streamlabel.consumer.observability.terminal_format import printable
from streamlabel.consumer.output.dead_letter_reader import DeadLetter
from streamlabel.consumer.output.headers import OURS

__all__ = ["dead_letter_document", "dead_letter_page"]

# Of a value and a header; the whole record is in ``--json``.
_VALUE_CHARACTERS = 10_000
_HEADER_CHARACTERS = 300
_WIDTH = 18


def dead_letter_page(dead: DeadLetter, *, was_replayed: bool) -> str:
    r"""Return a record and why it is a dead letter, escaped for a terminal.

    Bytes that are not UTF-8 are shown as ``\xff``, line ends as ``\n``.
    """
    record = dead.record
    died = datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)
    ours = {name.removeprefix(OURS): value for name, value in record.headers if _is_ours(name)}
    rows: list[tuple[str, str]] = [
        ("position", str(record.position)),
        ("died", died.isoformat(timespec="milliseconds")),
        ("reason", dead.reason),
        ("class", _text(ours.get("error-class"))),
        ("message", dead.message),
        ("source", str(dead.source or "unknown")),
        ("attempts", str(dead.attempts)),
        ("replays before", str(dead.replays)),
        ("replayed since", "yes" if was_replayed else "no"),
        ("version", _text(ours.get("version"))),
    ]
    rows += [
        (name, _text(value))
        for name, value in ours.items()
        if name.endswith("-omitted") or name == "headers-dropped"
    ]
    rows.append(("key", _text(record.key)))
    rows += [
        (f"header {name}", _text(value)) for name, value in record.headers if not _is_ours(name)
    ]
    shown = [f"{printable(name):<{_WIDTH}}  {printable(text, limit=_HEADER_CHARACTERS)}"
             for name, text in rows]  # fmt: skip
    value = printable(_text(record.value), limit=_VALUE_CHARACTERS)
    return "\n".join([*shown, f"{'value':<{_WIDTH}}  {value}"])


def dead_letter_document(dead: DeadLetter, *, was_replayed: bool) -> str:
    """Return all of it as one line of JSON in ASCII.

    Bytes are a string where they are UTF-8, else an object ``{"base64": ...}``.
    """
    record = dead.record
    document = {
        "position": str(record.position),
        "timestamp_ms": record.timestamp_ms,
        "reason": dead.reason,
        "message": dead.message,
        "source": None if dead.source is None else str(dead.source),
        "attempts": dead.attempts,
        "replays": dead.replays,
        "is_complete": dead.is_complete,
        "was_replayed": was_replayed,
        "key": _json(record.key),
        "value": _json(record.value),
        "headers": [[name, _json(value)] for name, value in record.headers],
    }
    return json.dumps(document)


def _is_ours(name: str) -> bool:
    return name.startswith(OURS)


def _text(content: bytes | None) -> str:
    return "-" if content is None else content.decode("utf-8", "backslashreplace")


def _json(content: bytes | None) -> Any:  # noqa: ANN401 JSON
    if content is None:
        return None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": b64encode(content).decode("ascii")}
