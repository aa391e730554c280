"""Dead letters: the original record, byte for byte; headers contain the reason."""

from collections.abc import Iterator
from hashlib import sha256
from typing import Final

from streamlabel.config.masking import mask_credentials
from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.core.records import Headers, SourceRecord
from streamlabel.consumer.output.headers import OURS, bounded, replays_of
from streamlabel.errors import RecordError

__all__ = ["bare_dead_letter", "dead_letter"]

# Long enough for all our messages; those of brokers and models may have any length.
_MESSAGE_LIMIT_BYTES = 512
_MESSAGE = OURS + "error-message"

_CLASSES: Final = {
    "inference_error": "InferenceError",
    "crash_suspect": "WorkerError",
    "output_too_large": "OutputRefusedError",
    "output_refused": "OutputRefusedError",
}


def dead_letter(
    record: SourceRecord,
    *,
    topic: str,
    error: RecordError,
    version: str,
    limit_bytes: int,
    task: str | None = None,
) -> Outbound:
    """Return the dead letter of ``record``: key, value and headers byte for byte, plus ours.

    If it exceeds ``limit_bytes``, as little as possible is left out, in this order: headers beyond
    their limits, the value, all headers, the key. Our headers list what was left out, with size and
    SHA-256 of value and key; the position is always included, so that the record can be found on
    the input topic. If even the smallest dead letter is too large, that one is returned.

    ``task`` names the one task that could not classify the record; the others have their outputs.
    """
    about = _about(record, error, version=version, task=task)
    outbound = None
    for key, value, headers in _ever_smaller(record, about):
        outbound = Outbound(topic, key, value, headers, record.position)
        if outbound.size_bytes <= limit_bytes:
            break
    if outbound is None:
        raise AssertionError("there is a smallest one. This is a bug.")
    return outbound


def bare_dead_letter(
    record: SourceRecord, *, topic: str, error: RecordError, version: str, task: str | None = None
) -> Outbound:
    """Return the dead letter of ``record`` without its value and headers, and with its key.

    For a topic that refuses the full one for another reason than its size. A compacted topic
    requires the key.
    """
    about = _about(record, error, version=version, task=task)
    about += _omitted("value", record.value) + _dropped(record.headers)
    return Outbound(topic, record.key, None, about, record.position)


def _about(record: SourceRecord, error: RecordError, *, version: str, task: str | None) -> Headers:
    position = record.position
    fields = {
        "error-reason": error.reason,
        "error-class": _CLASSES.get(error.reason, "DecodeError"),
        "error-message": mask_credentials(error.message),
        "source-topic": position.topic,
        "source-partition": str(position.partition),
        "source-offset": str(position.offset),
        "source-timestamp-ms": str(record.timestamp_ms),
        "attempts": str(error.attempts),
        "version": version,
    }
    if task is not None:
        fields["task"] = task
    if replays := replays_of(record.headers):  # repeated, as those may be left out
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
    about += _dropped(headers)
    yield key, None, about
    about += _omitted("key", key)
    yield None, None, about
    yield None, None, tuple(header for header in about if header[0] != _MESSAGE)


def _dropped(headers: Headers) -> Headers:
    return ((OURS + "headers-dropped", str(len(headers)).encode()),) if headers else ()


def _omitted(what: str, content: bytes | None) -> Headers:
    if content is None:
        return ()
    note = f"size={len(content)}; sha256={sha256(content).hexdigest()}"
    return ((f"{OURS}{what}-omitted", note.encode()),)


def _cut(text: bytes | None, limit_bytes: int) -> bytes:
    """Return the beginning of UTF-8 ``text``, still UTF-8."""
    return (text or b"")[:limit_bytes].decode("utf-8", "ignore").encode()
