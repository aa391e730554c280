"""Decodes values of the built-in formats without schemas, after compression and charset. Pure."""

from collections.abc import Callable, Sequence

from streamlabel.config.kafka import InputSettings
from streamlabel.consumer.core.records import SourceRecord, TextRecord
from streamlabel.consumer.decode.charsets import inner_json, utf8_from
from streamlabel.consumer.decode.compression import by_header
from streamlabel.consumer.decode.decoder import Decoder, refuse_without_value
from streamlabel.consumer.decode.framing import without_frame

__all__ = ["StagedDecoder", "needs_stages"]


def needs_stages(settings: InputSettings) -> bool:
    """Return whether a value has to be changed before the format can read it."""
    return (
        settings.content_encoding != "none"
        or settings.charset != "utf-8"
        or settings.double_encoded
    )


class StagedDecoder:
    """Decompresses, converts and unpacks values, then decodes them. Implements ``ValueDecoder``."""

    def __init__(self, settings: InputSettings) -> None:
        self._decompress = (
            by_header(settings.max_value_bytes) if settings.content_encoding == "header" else None
        )
        self._stages: list[Callable[[bytes], bytes]] = []
        if settings.framing == "confluent":
            self._stages.append(without_frame)
        if settings.charset != "utf-8":
            self._stages.append(utf8_from(settings.charset))
        if settings.double_encoded:
            self._stages.append(inner_json)
        self._decoder = Decoder(settings.model_copy(update={"framing": "none"}))

    async def prefetch(self, records: Sequence[SourceRecord]) -> None:
        """Fetch nothing: these formats need nothing but the value."""

    def decode(self, record: SourceRecord) -> TextRecord:
        """Return the text with its id, metadata and event time.

        Raises:
            DecodeError: with a reason of ``DeadLetterReason``.
        """
        value = refuse_without_value(record)
        if self._decompress is not None:
            value = self._decompress(value, record.headers)
        for stage in self._stages:
            value = stage(value)
        plain = SourceRecord(
            record.position,
            record.key,
            value,
            record.headers,
            record.timestamp_ms,
            record.received_at_s,
        )
        found = self._decoder.decode(plain)
        return TextRecord(
            record,
            found.id,
            found.text,
            found.event_time_ms,
            found.metadata,
            found.metadata_dropped,
        )
