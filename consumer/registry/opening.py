"""The decoder of the input: with schemas, with stages before it, or without either."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from streamlabel.config.input_format import FORMATS
from streamlabel.config.kafka import InputSettings
from streamlabel.config.registry import SCHEMA_FORMATS
from streamlabel.consumer.core.ports import Clock
from streamlabel.consumer.core.records import SourceRecord, TextRecord
from streamlabel.consumer.decode import installed_format
from streamlabel.consumer.decode.decoder import Decoder
from streamlabel.consumer.decode.framing import schema_name
from streamlabel.consumer.decode.installed_format import InstalledDecoder
from streamlabel.consumer.decode.schema_decoder import (
    JSON,
    ONLY,
    Schema,
    SchemaDecoder,
    UnknownSchema,
)
from streamlabel.consumer.decode.staged_decoder import StagedDecoder, needs_stages
from streamlabel.consumer.registry.answers import Fetched, Unknown
from streamlabel.consumer.registry.by_topic import TopicDecoder
from streamlabel.consumer.registry.client import RegistryClient
from streamlabel.consumer.registry.compiling import compiled, from_file
from streamlabel.consumer.registry.schema_cache import SchemaCache
from streamlabel.errors import ConfigError
from streamlabel.extras import require
from streamlabel.models.core.system_clock import SystemClock

__all__ = ["RegistryDecoder", "open_decoder"]

# Requests at the same time; more would only burden the registry.
_MOST_AT_ONCE = 8
_MAX_REFERENCES = 64
_LIBRARIES = {"avro": "fastavro", "debezium": "fastavro", "protobuf": "google.protobuf"}


class RegistryDecoder:
    """Fetches schemas once each, and decodes with them. Implements ``ValueDecoder``.

    Args:
        settings: of the input.
        clock: for the waits of a registry.
        what: name of the section of the registry, for messages.
    """

    def __init__(
        self, settings: InputSettings, clock: Clock, *, what: str = "input.registry"
    ) -> None:
        registry = settings.registry
        self._what = what
        self._settings = settings
        self._clock = clock
        self._cache = SchemaCache(
            max_schemas=registry.max_schemas, unknown_ttl_s=registry.unknown_schema_ttl_s
        )
        self._decoder = SchemaDecoder(settings, self._cache.schemas)
        self._client: RegistryClient | None = None
        self._files: dict[str, Schema] = {}
        self._is_ready = False
        self._slots = asyncio.Semaphore(_MOST_AT_ONCE)

    @property
    def schemas(self) -> Mapping[bytes, Schema]:
        """The schemas in memory, by their names as bytes."""
        return self._cache.schemas

    async def prefetch(self, records: Sequence[SourceRecord]) -> None:
        """Fetch the schemas that these records need and that are not known yet.

        Raises:
            ConfigError: a library is missing, a schema file cannot be read, or the registry does
                not accept the credentials.
        """
        if not self._is_ready:
            await asyncio.to_thread(self._prepare)
            self._is_ready = True
        if self._settings.framing == "none":
            return
        keys = {key for record in records if (key := self._decoder.key(record)) is not None}
        missing = self._cache.use(keys, now_s=self._clock.now_s())
        if missing:
            try:
                async with asyncio.TaskGroup() as group:
                    for key in missing:
                        group.create_task(self._fetch(key))
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from errors
            self._cache.shrink(frozenset(keys))

    def decode(self, record: SourceRecord) -> TextRecord:
        """Return the text with its id, metadata and event time.

        Raises:
            DecodeError: with a reason of ``DeadLetterReason``.
        """
        return self._decoder.decode(record)

    def document(self, record: SourceRecord) -> Any:  # noqa: ANN401 any document
        """Return the whole value: an object of Avro, a message of Protobuf, or the bytes of JSON.

        Raises:
            DecodeError: with a reason of ``DeadLetterReason``.
        """
        return self._decoder.document(record)

    def _prepare(self) -> None:
        settings = self._settings
        if library := _LIBRARIES.get(settings.format):
            require(f"input.format {settings.format}", library, extra="formats")
        if settings.registry.url is not None:
            self._client = RegistryClient(
                settings.registry,
                is_compiled=settings.format == "protobuf",
                clock=self._clock,
                what=self._what,
            )
        for name, path in settings.schema_files.items():
            self._files[name.lower()] = _read(path, f"schema_files.{name}", settings)
        if settings.schema_file is not None:
            schema = _read(settings.schema_file, "schema_file", settings)
            self._cache.put(ONLY, schema, now_s=self._clock.now_s())
        elif settings.framing == "none":  # Debezium in JSON
            self._cache.put(ONLY, JSON, now_s=self._clock.now_s())

    async def _fetch(self, key: bytes) -> None:
        name = schema_name(key)
        schema = self._files.get(name.value)
        if schema is None:
            async with self._slots:
                schema = await self._from_registry(key)
        self._cache.put(key, schema, now_s=self._clock.now_s())

    async def _from_registry(self, key: bytes) -> Schema:
        if self._client is None:
            return UnknownSchema("input.schema_files does not list it")
        fetched = await self._client.schema(schema_name(key))
        if isinstance(fetched, Unknown):
            return UnknownSchema(fetched.why)
        references: dict[tuple[str, int], Fetched] = {}
        if not await self._add_references(self._client, fetched, references):
            return UnknownSchema("schemas that it refers to are missing, circular or too many")
        return await asyncio.to_thread(compiled, fetched, list(references.values()), self._settings)

    async def _add_references(
        self,
        client: RegistryClient,
        fetched: Fetched,
        known: dict[tuple[str, int], Fetched],
        above: tuple[tuple[str, int], ...] = (),
    ) -> bool:
        """Add the schemas that a schema needs, those that others need first."""
        for each in fetched.references:
            place = each.subject, each.version
            if place in known:
                continue
            if place in above or len(known) + len(above) >= _MAX_REFERENCES:
                return False
            found = await client.reference(each)
            if isinstance(found, Unknown):
                return False
            if not await self._add_references(client, found, known, (*above, place)):
                return False
            known[place] = found._replace(name=each.name)
        return True


def open_decoder(
    settings: InputSettings, clock: Clock | None = None
) -> Decoder | InstalledDecoder | StagedDecoder | RegistryDecoder | TopicDecoder:
    """Return the decoder of the input.

    Args:
        settings: of the input.
        clock: for the waits of a registry; None: the system's.

    Raises:
        ConfigError: the decoder of another distribution cannot be created.
    """
    if settings.has_own_values:
        return TopicDecoder(settings, lambda each: _open_one(each, clock))
    return _open_one(settings, clock)


def _open_one(
    settings: InputSettings, clock: Clock | None
) -> Decoder | InstalledDecoder | StagedDecoder | RegistryDecoder:
    if settings.format in SCHEMA_FORMATS:
        return RegistryDecoder(settings, clock or SystemClock())
    if settings.format in FORMATS and needs_stages(settings):
        return StagedDecoder(settings)
    return installed_format.open_decoder(settings)


def _read(path: Path, name: str, settings: InputSettings) -> Schema:
    try:
        return from_file(path.read_bytes(), settings)
    except OSError as error:
        raise ConfigError(f"input.{name}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"input.{name}: {error}") from error
