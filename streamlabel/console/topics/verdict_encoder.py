"""Verdicts as records of their topic: in the format and with the headers of the settings."""

from typing import TYPE_CHECKING

import orjson

from streamlabel.config.kafka import OutputSettings
from streamlabel.consumer.core.ports import Clock
from streamlabel.consumer.core.records import Headers
from streamlabel.consumer.kafka.keyed_writer import Keyed
from streamlabel.consumer.output.schema_frames import SchemaFrames, opened_writer

if TYPE_CHECKING:
    from streamlabel.consumer.output.value_writers import ValueWriter

__all__ = ["VerdictEncoder"]

_JSON: Headers = (("content-type", b"application/json"),)


class VerdictEncoder:
    """Encodes verdicts.

    Args:
        output: the settings.
        clock: for the waits between requests to the registry.

    Raises:
        ConfigError: the library of the format is missing.
    """

    def __init__(self, output: OutputSettings, clock: Clock) -> None:
        self._output = output
        self._clock = clock
        self._writer: ValueWriter | None = None
        self._frame = b""
        if output.format != "json":
            self._writer = opened_writer(output.format, "verdict")

    async def prefetch(self) -> None:
        """Fetch the id of the schema, once, as soon as the registry answers.

        Raises:
            ConfigError: the schema is not registered, and may not be.
        """
        if self._writer is not None and not self._frame:
            frames = SchemaFrames(self._output, self._clock)
            self._frame = await frames.of(self._output.verdicts_topic, "verdict", self._writer)

    def keyed(self, review_id: str, value: bytes | None) -> Keyed:
        """Return the record of a verdict, given as JSON; None withdraws it."""
        key = review_id.encode()
        if value is None:
            return Keyed(key, None)
        headers = _JSON
        if self._writer is not None:
            headers = (("content-type", self._writer.content_type),)
        if self._output.cloudevents_source is not None:
            headers += _event(review_id, value, self._output.cloudevents_source)
        if self._writer is not None:
            value = self._frame + self._writer.write(value, None)
        return Keyed(key, value, headers)


def _event(review_id: str, value: bytes, source: str) -> Headers:
    decided_at = orjson.loads(value)["decided_at"]
    attributes = {
        "specversion": "1.0",
        "id": f"{review_id}/{decided_at}",
        "source": source,
        "type": "streamlabel.verdict.v1",
        "time": decided_at,
        "subject": review_id,
    }
    return tuple((f"ce_{name}", text.encode()) for name, text in attributes.items())
