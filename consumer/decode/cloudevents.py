"""CloudEvents in Kafka records: attributes in headers (binary) or in the value (structured).

Source: Kafka Protocol Binding for CloudEvents 1.0.2; JSON Event Format 1.0.2.
"""

import binascii
from base64 import b64decode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from streamlabel.consumer.core.records import Headers
from streamlabel.consumer.decode.json_fields import MISSING, parse_json
from streamlabel.errors import DecodeError

__all__ = ["Event", "read_event"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_STRUCTURED = "application/cloudevents"
_NO_EVENT = (
    "not a CloudEvent: neither the content-type application/cloudevents+json, nor a header"
    " ce_specversion, nor a JSON object with 'specversion' without any header ce_*"
)


@dataclass(frozen=True, slots=True)
class Event:
    """One event, its data still undecoded.

    Attributes:
        id: as given; MISSING if there is none. Unique within its source only.
        time_ms: epoch milliseconds; None if there is no time, or no valid one.
        kind: what ``data`` is: ``json`` and ``text``: bytes of it; ``document``: the whole event
            as parsed JSON whose field ``data`` holds JSON; ``string``: the text itself.
        data: see ``kind``; None if the event has none.
    """

    id: Any
    time_ms: int | None
    kind: Literal["json", "text", "document", "string"]
    data: Any  # by kind


def read_event(headers: Headers, value: bytes) -> Event:
    """Return the event; content type, headers or the value say which of the two modes it is in.

    Names are compared without regard to case; of headers with one name the last counts. An id,
    a time or a content type that is not UTF-8 counts as absent. Without any ``ce_`` header, a JSON
    object with ``specversion`` is a structured event: many producers set no content type, or
    ``application/json``.

    Raises:
        DecodeError: ``schema``: no event, or data that is neither JSON nor text; and whatever
            ``parse_json`` finds in a structured event.
    """
    attributes = {name.lower(): header for name, header in headers}
    content_type = _text(attributes.get("content-type"))
    if content_type.lower().startswith(_STRUCTURED):
        return _structured(content_type, value)
    if "ce_specversion" not in attributes:
        is_bare = not any(name.startswith("ce_") for name in attributes)
        event = _bare(content_type, value) if is_bare else None
        if event is None:
            raise DecodeError("schema", _NO_EVENT)
        return event
    identity = _text(attributes.get("ce_id")) or MISSING
    time_ms = _epoch_ms(_text(attributes.get("ce_time")))
    return Event(identity, time_ms, _kind(content_type), value)


def _structured(content_type: str, value: bytes) -> Event:
    if _media_type(content_type) != "application/cloudevents+json":
        raise DecodeError("schema", "content-type: structured events must be JSON")
    event = parse_json(value)
    if type(event) is not dict or "specversion" not in event:
        raise DecodeError("schema", "not a CloudEvent: no field 'specversion'")
    return _read_document(event)


def _bare(content_type: str, value: bytes) -> Event | None:
    """Return a structured event that only its value marks as one; None if it is not one."""
    if content_type and not _is_json(_media_type(content_type)):
        return None
    try:
        event = parse_json(value)
    except DecodeError:
        return None
    if type(event) is not dict or "specversion" not in event:
        return None
    return _read_document(event)


def _read_document(event: dict[str, Any]) -> Event:
    identity = event.get("id", MISSING)
    time_ms = _epoch_ms(event.get("time"))
    kind = _kind(event.get("datacontenttype"))
    if "data_base64" in event:
        return Event(identity, time_ms, kind, _decoded(event))
    if kind == "json":
        return Event(identity, time_ms, "document", event)
    data = event.get("data")
    if data is not None and type(data) is not str:
        raise DecodeError("schema", "field 'data' is not a string, as datacontenttype declares")
    return Event(identity, time_ms, "string", data)


def _decoded(event: dict[str, Any]) -> bytes:
    encoded = event["data_base64"]
    if "data" in event:
        raise DecodeError(
            "schema", "fields 'data' and 'data_base64' are both present; one is allowed"
        )
    if type(encoded) is str:
        try:
            return b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):  # ValueError: characters beyond ASCII
            pass
    raise DecodeError("schema", "field 'data_base64' is not base64")


def _kind(content_type: object) -> Literal["json", "text"]:
    """Return how to read data of this content type; the specification's default is JSON."""
    if content_type is None or content_type == "":
        return "json"
    media_type = _media_type(content_type) if type(content_type) is str else ""
    if media_type.startswith("text/"):
        return "text"
    if _is_json(media_type):
        return "json"
    raise DecodeError("schema", "the content type of the data is neither JSON nor text")


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _is_json(media_type: str) -> bool:
    return media_type.endswith(("/json", "+json"))


def _text(header: bytes | None) -> str:
    if header is None:
        return ""
    try:
        return header.decode()
    except UnicodeDecodeError:
        return ""


def _epoch_ms(time: object) -> int | None:
    """Return an RFC 3339 time as epoch milliseconds, None if it is not a valid one."""
    if type(time) is not str:
        return None
    try:
        moment = datetime.fromisoformat(time.upper())
    except ValueError:
        return None
    if moment.tzinfo is None:  # no offset: RFC 3339 demands one, and guessing would be wrong
        return None
    return (moment - _EPOCH) // timedelta(milliseconds=1)
