"""Encodes results in another format than JSON, with other keys, or as CloudEvents."""

from typing import TYPE_CHECKING, Any, Final

import orjson

from streamlabel.config.kafka import OutputSettings
from streamlabel.consumer.core.ports import Clock, Outbound
from streamlabel.consumer.core.records import Headers, TextRecord
from streamlabel.consumer.output.headers import forwarded
from streamlabel.consumer.output.message_encoder import MessageEncoder
from streamlabel.consumer.output.published_schemas import OUTPUTS, OutputName
from streamlabel.consumer.output.schema_frames import SchemaFrames, opened_writer
from streamlabel.models.core.system_clock import SystemClock

if TYPE_CHECKING:
    from streamlabel.consumer.output.value_writers import ValueWriter

__all__ = ["SchemaEncoder", "is_plain"]

# A frame has this size, also before the id is known: for the check of sizes at the start.
_FRAME_BYTES: Final = 5


def is_plain(output: OutputSettings) -> bool:
    """Return whether outputs are JSON with the keys of the input, and no CloudEvents."""
    return output.format == "json" and output.key == "input" and output.cloudevents_source is None


class SchemaEncoder(MessageEncoder):
    """Encodes as the section ``output`` says; otherwise as ``MessageEncoder``.

    The id of a topic's schema is that of the subject ``TOPIC-value``.

    Args:
        output: the settings.
        clock: for the waits between requests to the registry; None: the system's.
        about: as for ``MessageEncoder``.
    """

    def __init__(
        self,
        output: OutputSettings,
        *,
        clock: Clock | None = None,
        **about: Any,  # noqa: ANN401 those of the base class
    ) -> None:
        super().__init__(**about)
        self._output = output
        self._clock = clock or SystemClock()
        self._task_of_event = "" if about.get("task") is None else f"/{about['task']}"
        self._writers: dict[OutputName, ValueWriter] = {}
        self._ids: dict[str, bytes] = {}
        if output.format != "json":
            self._writers = {name: opened_writer(output.format, name) for name in OUTPUTS}

    async def prefetch(self) -> None:
        """Fetch the ids of the schemas, once.

        Raises:
            ConfigError: a schema is not registered, and may not be.
        """
        if not self._writers or self._ids:
            return
        topics: dict[str, OutputName] = {
            self._output.labels_topic: "label",
            self._output.review_topic: "review",
        }
        frames = SchemaFrames(self._output, self._clock)
        self._ids = {
            topic: await frames.of(topic, name, self._writers[name])
            for topic, name in topics.items()
        }

    def _text_bytes(self, text: str) -> int:
        if self._output.format in {"avro", "protobuf"}:
            return len(text.encode())
        return super()._text_bytes(text)

    def _outbound(self, record: TextRecord, topic: str, message: dict[str, Any]) -> Outbound:
        if topic not in {self._output.labels_topic, self._output.review_topic}:
            return super()._outbound(record, topic, message)  # a shadow's, always JSON
        name: OutputName = "review" if "text" in message else "label"
        value, content_type = orjson.dumps(message), b"application/json"
        if self._writers:
            writer = self._writers[name]
            frame = self._ids.get(topic) or bytes(_FRAME_BYTES)
            value, content_type = frame + writer.write(value, record.metadata), writer.content_type
        position = record.source.position
        headers: Headers = (
            ("content-type", content_type),
            *forwarded(record.source.headers)[1:],
            *self._headers,
        )
        if self._output.cloudevents_source is not None:
            headers += self._event(record, name, message["processed_at"])
        key = record.source.key if self._output.key == "input" else record.id.encode()
        return Outbound(topic, key, value, headers, position)

    def _event(self, record: TextRecord, name: OutputName, time: str) -> Headers:
        """Return the attributes of a CloudEvent; equal for equal results, so that readers see."""
        topic, partition, offset = record.source.position
        attributes = {
            "specversion": "1.0",
            "id": f"{record.source.position}{self._task_of_event}/{name}",
            "source": self._output.cloudevents_source or "",
            "type": f"streamlabel.{name}.v1",
            "time": time,
            "subject": f"{topic}/{partition}/{offset}",
        }
        return tuple((f"ce_{key}", value.encode()) for key, value in attributes.items())
