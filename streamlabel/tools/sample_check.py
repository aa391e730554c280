"""Shows how the last record of each input topic is read: types and lengths, never content."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, Final

import orjson

from streamlabel.config.input_format import FORMATS
from streamlabel.config.kafka import InputSettings
from streamlabel.config.settings import Settings
from streamlabel.consumer.core.ports import Clock
from streamlabel.consumer.core.records import SourceRecord
from streamlabel.consumer.kafka.partition_scan import Scanner
from streamlabel.consumer.kafka.topics import Topic
from streamlabel.consumer.registry.opening import RegistryDecoder, open_decoder
from streamlabel.errors import BrokerError, ConfigError, DecodeError
from streamlabel.tools.preflight import PreflightCheck

__all__ = ["check_samples", "shape"]

# A broker or a registry that does not answer is a matter of other checks.
_TIMEOUT_S: Final = 15.0
_MAX_TOPICS: Final = 20
_MAX_FIELDS: Final = 20
# Anything else may be content: keys of a map, for example.
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,39}")

_PLAIN: Final = {type(None): "null", bool: "boolean", int: "number", float: "number"}


async def check_samples(
    settings: Settings, *, topics: Mapping[str, Topic], clock: Clock
) -> AsyncIterator[PreflightCheck]:
    """Read one record of each input topic; never fails, a record that does not fit is a warning.

    Args:
        settings: of the service.
        topics: existing topics, by name.
        clock: for the waits.
    """
    names = [name for name in topics if name not in settings.own_topics]
    for name in names[:_MAX_TOPICS]:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                record = await _last(settings, topics[name], clock)
                if record is None:
                    yield PreflightCheck(f"sample {name}", "there is no record yet")
                else:
                    yield await _read(settings, record, clock)
        except TimeoutError:
            yield PreflightCheck(f"sample {name}", "no record could be read in time")
        except (BrokerError, ConfigError) as error:
            yield PreflightCheck(f"sample {name}", "no record could be read", None, [str(error)])
    if len(names) > _MAX_TOPICS:
        rest = f"of {len(names) - _MAX_TOPICS} more topics no record is shown"
        yield PreflightCheck("samples", rest)


async def _last(settings: Settings, topic: Topic, clock: Clock) -> SourceRecord | None:
    scanner = Scanner(settings.kafka, topic.name, clock)
    for partition in range(topic.partitions):
        end = await scanner.end(partition)
        found = None
        # the last offsets may be markers of transactions
        records = scanner.records(partition, until=end, since=max(0, end - 10))
        async with aclosing(records):
            async for record in records:
                found = record
        if found is not None:
            return found
    return None


async def _read(settings: Settings, record: SourceRecord, clock: Clock) -> PreflightCheck:
    topic = record.position.topic
    given = settings.input.of_topic(topic).model_copy(update={"topics": []})
    decoder = await asyncio.to_thread(open_decoder, given, clock)
    await decoder.prefetch([record])
    seen = f"{given.format}: {await asyncio.to_thread(_fields, decoder, record)}"
    try:
        text = decoder.decode(record)
    except DecodeError as error:
        problem = f"{topic}: this record would be a dead letter ({error.reason}): {error}"
        return PreflightCheck(f"sample {topic}", seen, None, [problem])
    origin = "the position" if text.id == str(record.position) else "a field"
    taken = f"text {len(text.text)} characters {_origin(given)}; id from {origin}"
    metadata = "" if text.metadata is None else f"; metadata {len(text.metadata)} bytes"
    return PreflightCheck(f"sample {topic}", f"{seen}; taken: {taken}{metadata}")


def _origin(settings: InputSettings) -> str:
    """Return where the settings say that the text is."""
    if settings.format == "cloudevents":
        return "from the event's data"
    if settings.format == "text" or settings.format not in FORMATS:
        return "from the value"
    if settings.messages_path is not None:
        return f"from {settings.messages_path}"
    return f"from {', '.join(settings.text_paths or (settings.text_path,))}"


def _fields(decoder: object, record: SourceRecord) -> str:
    document: Any = record.value
    if isinstance(decoder, RegistryDecoder):
        try:
            document = decoder.document(record)
        except DecodeError:
            document = record.value
    if isinstance(document, bytes):
        try:
            document = orjson.loads(document)
        except orjson.JSONDecodeError:
            document = record.value
    return shape(document)


def shape(document: Any) -> str:  # noqa: ANN401 any document
    """Return the fields of a document, two levels deep, with types and lengths only."""
    if fields := _members(document):
        shown = [f"{_named(name)} {_kind(value, deep=True)}" for name, value in fields]
        more = len(shown) - _MAX_FIELDS
        return ", ".join(shown[:_MAX_FIELDS]) + (f" and {more} more" if more > 0 else "")
    return _kind(document, deep=False)


def _members(document: Any) -> list[tuple[str, Any]]:  # noqa: ANN401
    if isinstance(document, dict):
        return [(str(name), value) for name, value in document.items()]
    if getattr(type(document), "DESCRIPTOR", None) is None:
        return []
    return [(field.name, value) for field, value in type(document).ListFields(document)]


def _named(name: str) -> str:
    return name if _NAME.fullmatch(name) else f"(a name of {len(name)} characters)"


def _kind(value: Any, *, deep: bool) -> str:  # noqa: ANN401
    if type(value) in _PLAIN:
        return _PLAIN[type(value)]
    if isinstance(value, str):
        return f"string ({len(value)} characters)"
    if isinstance(value, bytes):
        return f"bytes ({len(value)})"
    fields = _members(value)
    if not fields:
        return f"array ({len(value)})" if hasattr(value, "__len__") else "a value"
    if not deep:
        return f"object ({len(fields)} fields)"
    inner = (f"{_named(name)} {_kind(each, deep=False)}" for name, each in fields[:_MAX_FIELDS])
    return f"{{{', '.join(inner)}}}"
