"""Input data: records as read from Kafka, and the texts decoded from them."""

from typing import Literal, NamedTuple

from streamlabel.models.core.values import value

__all__ = [
    "DeadLetterReason",
    "Headers",
    "Position",
    "SourceRecord",
    "TextRecord",
    "TopicPartition",
]

Headers = tuple[tuple[str, bytes | None], ...]

DeadLetterReason = Literal[
    "bad_encoding",  # not UTF-8, or not the charset of the settings
    "bad_compression",  # not compressed as its header says, or too large when decompressed
    "unknown_schema",  # no registry knows its schema, or nobody can read that schema
    "not_json",  # not a JSON document (or nested too deeply, or numbers out of range)
    "schema",  # JSON, but not an object / no text field / text is not a string
    "empty_text",  # tombstone, empty, or nothing visible in it
    "decoder_error",  # the decoder of another distribution raised, or returned no text
    "bad_escalation",  # a cascade in several services: what earlier stages said is missing or wrong
    "undecodable_record",  # the client library cannot read the record at all; coordinates only
    "inference_error",  # the model raises on this text, also alone
    "crash_suspect",  # the worker crashed repeatedly on this text alone
    "output_too_large",  # the broker accepts no output of this size
    "output_refused",  # the broker refuses this output for another reason than its size
]


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Position(NamedTuple):
    """The place of a record. Its *next offset*, what a commit names, is ``offset + 1``."""

    topic: str
    partition: int
    offset: int

    @property
    def topic_partition(self) -> TopicPartition:
        """The partition it is in."""
        return TopicPartition(self.topic, self.partition)

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}-{self.offset}"


@value
class SourceRecord:
    """One Kafka entry as read.

    Attributes:
        timestamp_ms: Kafka's timestamp, epoch milliseconds.
        received_at_s: monotonic seconds when ``poll`` returned it.
        undecodable: why the client library could not read it; key and value are then None.
    """

    position: Position
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int
    received_at_s: float
    undecodable: str | None = None


@value
class TextRecord:
    """A decoded record.

    Attributes:
        id: the record's own id, else ``topic-partition-offset``; the idempotency id.
        text: the text to classify; never blank.
        metadata: JSON that is copied to every output, byte for byte; None if there was none.
        metadata_dropped: there was metadata, too large or too deeply nested to copy.
        event_time_ms: when it happened: the record's own time where the format has one
            (CloudEvents ``time``), else Kafka's timestamp.
        language: code of the text's language, where a condition needs it; ``und`` if it cannot be
            told.
    """

    source: SourceRecord
    id: str
    text: str
    event_time_ms: int
    metadata: bytes | None = None
    metadata_dropped: bool = False
    language: str | None = None
