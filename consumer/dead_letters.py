"""Dead letters: the record as it was, byte for byte; headers say why it was not classified."""

from collections.abc import Iterator
from hashlib import sha256
from typing import Final

from streamlabel.consumer.headers import OURS, bounded, replays_of
from streamlabel.consumer.ports import Outbound
from streamlabel.consumer.records import Headers, SourceRecord
from streamlabel.errors import RecordError

__all__ = ["dead_letter"]

# Long enough for every message of ours; what a broker or a model says may be any length.
_MESSAGE_LIMIT_BYTES = 512
_MESSAGE = OURS + "error-message"

_CLASSES: Final = {
    "inference_error": "InferenceError",
    "crash_suspect": "WorkerError",
    "output_too_large": "OutputRefusedError",
}


def dead_letter(
    record: SourceRecord,
    *,
    topic: str,
    error: RecordError,
    attempts: int,
    version: str,
    limit_bytes: int,
) -> Outbound:
    """Return the dead letter of ``record``: key, value and headers byte for byte, plus ours.

    What does not fit ``limit_bytes`` is left out, as little as possible and in this order: headers
    beyond their limits, the value, all headers, the key. Our headers say what was left out, with
    size and SHA-256 of value and key; the position is always there, so that the record can be
    found on the input topic. If all of that is not enough, the smallest one is returned.

    ``attempts`` is how often it was tried; 1 for what cannot be decoded.
    """
    about = _about(record, error, attempts=attempts, version=version)
    outbound = None
    for key, value, headers in _ever_smaller(record, about):
        outbound = Outbound(topic, key, value, headers, record.position)
        if outbound.size_bytes <= limit_bytes:
            break
    if outbound is None:
        raise AssertionError("there is a smallest one. This is a bug.")
    return outbound


def _about(record: SourceRecord, error: RecordError, *, attempts: int, version: str) -> Headers:
    position = record.position
    fields = {
        "error-reason": error.reason,
        "error-class": _CLASSES.get(error.reason, "DecodeError"),
        "error-message": error.message,
        "source-topic": position.topic,
        "source-partition": str(position.partition),
        "source-offset": str(position.offset),
        "source-timestamp-ms": str(record.timestamp_ms),
        "attempts": str(attempts),
        "version": version,
    }
    if replays := replays_of(record.headers):  # again, in case the record's headers are left out
        fields["replays"] = str(replays)
    return tuple(
        (OURS + name, _cut(field.encode("utf-8", "backslashreplace"), _MESSAGE_LIMIT_BYTES))
        for name, field in fields.items()
    )


def _ever_smaller(
    record: SourceRecord, about: Headers
) -> Iterator[tuple[bytes | None, bytes | None, Headers]]:
    key, value, headers = record.key, record.value, record.headers
    yield key, value, headers + about
    few = bounded(headers)
    if few != headers:
        yield key, value, few + about
    about += _omitted("value", value)
    yield key, None, headers + about
    yield key, None, few + about
    if headers:
        about += ((OURS + "headers-dropped", str(len(headers)).encode()),)
    yield key, None, about
    about += _omitted("key", key)
    yield None, None, about
    yield None, None, tuple(header for header in about if header[0] != _MESSAGE)


def _omitted(what: str, content: bytes | None) -> Headers:
    if content is None:
        return ()
    note = f"size={len(content)}; sha256={sha256(content).hexdigest()}"
    return ((f"{OURS}{what}-omitted", note.encode()),)


def _cut(text: bytes | None, limit_bytes: int) -> bytes:
    """Return the beginning of UTF-8 ``text``, still UTF-8."""
    return (text or b"")[:limit_bytes].decode("utf-8", "ignore").encode()
