"""What stands in front of an output that has a schema: the id of the schema of its topic."""

import asyncio
from typing import Final

from streamlabel.config.kafka import OutputSettings
from streamlabel.consumer.core.ports import Clock
from streamlabel.consumer.output.published_schemas import PublishedName
from streamlabel.consumer.output.value_writers import OutputFormat, ValueWriter, value_writer
from streamlabel.consumer.registry.answers import Unknown
from streamlabel.consumer.registry.client import RegistryClient
from streamlabel.errors import ConfigError
from streamlabel.extras import require

__all__ = ["SchemaFrames", "opened_writer"]

_LIBRARIES: Final = {"avro": "fastavro", "protobuf": "google.protobuf"}
_FILES: Final = {"AVRO": "avsc", "PROTOBUF": "proto", "JSON": "json"}


def opened_writer(output_format: OutputFormat, name: PublishedName) -> ValueWriter:
    """Return how an output is written in a format.

    Raises:
        ConfigError: the library of the format is missing.
    """
    if library := _LIBRARIES.get(output_format):
        require(f"output.format {output_format}", library, extra="formats")
    return value_writer(output_format, name)


class SchemaFrames:
    """Asks the registry for the ids of schemas.

    Args:
        output: the settings, with a registry.
        clock: for the waits between requests.
    """

    def __init__(self, output: OutputSettings, clock: Clock) -> None:
        self._output = output
        self._clock = clock
        self._client: RegistryClient | None = None

    async def of(self, topic: str, name: PublishedName, writer: ValueWriter) -> bytes:
        """Return the five bytes in front of the values of a topic, as soon as it answers.

        Raises:
            ConfigError: the schema is not registered, and may not be.
        """
        if self._client is None:
            self._client = await asyncio.to_thread(
                RegistryClient,
                self._output.registry,
                is_compiled=False,
                clock=self._clock,
                what="output.registry",
            )
        found = await self._client.schema_id(
            f"{topic}-value",
            schema=writer.schema,
            kind=writer.kind,
            register=self._output.auto_register,
        )
        if isinstance(found, Unknown):
            raise ConfigError(
                f"output.format: the schema of {topic}-value: {found.why}; register"
                f" docs/schemas/{name}.{_FILES[writer.kind]}, or set output.auto_register: true"
            )
        return b"\x00" + found.to_bytes(4)
