"""Reads labels, reviews and verdicts in whatever format ``output.format`` says, as JSON.

The schema of each value is the one that its writer registered, so that values of an earlier version
are read, too.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import orjson
from pydantic import BaseModel

from streamlabel.config.kafka import InputSettings, OutputSettings
from streamlabel.consumer.core.ports import Clock
from streamlabel.consumer.core.records import SourceRecord
from streamlabel.consumer.decode.json_fields import MISSING
from streamlabel.consumer.decode.protobuf import field_of
from streamlabel.consumer.output.field_shapes import Kind, fields_of
from streamlabel.consumer.output.published_schemas import PUBLISHED, PublishedName
from streamlabel.consumer.registry.opening import RegistryDecoder
from streamlabel.errors import DecodeError

__all__ = ["OutputReader"]

_BY_SCHEMA: Final[dict[str, PublishedName]] = {f"streamlabel.{name}/v1": name for name in PUBLISHED}
_DECIDED: Final = ("confirm", "correct")


class OutputReader:
    """Makes records of our own topics readable for what reads them as JSON.

    Args:
        output: the settings of the service that wrote them.
        clock: for the waits between requests to the registry.
    """

    def __init__(self, output: OutputSettings, clock: Clock) -> None:
        self._decoder: RegistryDecoder | None = None
        if output.format != "json":
            settings = InputSettings(
                format=output.format, framing="confluent", registry=output.registry
            )
            self._decoder = RegistryDecoder(settings, clock, what="output.registry")

    async def plain(self, records: Sequence[SourceRecord]) -> Sequence[SourceRecord]:
        """Return the records with JSON as values; one that cannot be read is returned as it is.

        Waits while the registry does not answer.

        Raises:
            ConfigError: a library is missing, or the registry does not accept the credentials.
        """
        if self._decoder is None:
            return records
        await self._decoder.prefetch(records)
        return [self._read(self._decoder, record) for record in records]

    def _read(self, decoder: RegistryDecoder, record: SourceRecord) -> SourceRecord:
        if record.value is None:
            return record
        try:
            found = decoder.document(record)
        except DecodeError:
            return record
        if isinstance(found, bytes):
            return replace(record, value=found)
        document = found if isinstance(found, dict) else _from_message(found)
        if document.get("metadata") is not None:
            document["metadata"] = orjson.Fragment(document["metadata"].encode())
        return replace(record, value=orjson.dumps(document))


def _from_message(message: Any) -> dict[str, Any]:  # noqa: ANN401 of Protobuf
    name = _BY_SCHEMA.get(str(field_of(message, "schema")))
    if name is None:
        return {}
    document = _fields(message, PUBLISHED[name])
    # Protobuf does not tell an empty list from none; a decision has labels, perhaps none of them.
    if name == "verdict" and document["labels"] is None and document["action"] in _DECIDED:
        document["labels"] = []
    return document


def _fields(message: Any, model: type[BaseModel]) -> dict[str, Any]:  # noqa: ANN401 of Protobuf
    found = {}
    for field in fields_of(model):
        value = field_of(message, field.name)
        found[field.name] = None if value is MISSING else _plain(value, field.kind)
    return found


def _plain(value: Any, kind: Kind) -> Any:  # noqa: ANN401 any field
    if kind.form == "map":
        return dict(value) or (None if kind.is_optional else {})
    if kind.form == "list":
        items = [_fields(each, kind.model) if kind.model else each for each in value]
        return items or (None if kind.is_optional else [])
    return _fields(value, kind.model) if kind.model else value
