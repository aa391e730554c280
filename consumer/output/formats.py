"""The two ports of a format: the decoder of values into texts, and the encoder of results.

Neither may wait while it decodes or encodes, because that would delay every other record.
``prefetch`` fetches what is needed for that, such as a schema from a registry. ``decoder.Decoder``
and ``message_encoder.MessageEncoder`` implement them for JSON, CloudEvents and plain text.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from streamlabel.config.section import FormatSettings
from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.core.records import SourceRecord, TextRecord
from streamlabel.consumer.output.timings import Timings
from streamlabel.consumer.routing.decision import Decision
from streamlabel.models.core.classifier import Prediction

__all__ = ["Format", "ValueDecoder", "ValueEncoder"]

S = TypeVar("S", bound=FormatSettings)


class ValueDecoder(Protocol):
    """Decodes the records of one input into texts."""

    async def prefetch(self, records: Sequence[SourceRecord]) -> None:
        """Fetch what decoding these records will need; awaited before they are decoded.

        Nothing is read meanwhile. A call that takes long is cancelled and repeated, so keep what it
        has fetched; at a drain it is not repeated, and the next owner reads the records. If data
        for a single record cannot be fetched, ``decode`` raises ``DecodeError`` for it.

        Raises:
            StreamlabelError: nothing can be decoded; the service stops.
        """
        ...

    def decode(self, record: SourceRecord) -> TextRecord:
        """Return the text with its id, metadata and event time. Does not wait.

        Raises:
            DecodeError: with a reason of ``DeadLetterReason``: the record becomes a dead letter,
                or is skipped if the settings specify that for this reason.
        """
        ...


@dataclass(frozen=True, slots=True)
class Format(Generic[S]):
    """A format: the value of an entry point in the group ``streamlabel.decoders``.

    The name of the entry point is the value of ``input.format``.

    Attributes:
        settings: the section ``input.decoder``: its fields, their limits and descriptions.
        load: returns the decoder; called once, when the service starts.
    """

    settings: type[S]
    load: Callable[[S], ValueDecoder]


class ValueEncoder(Protocol):
    """Encodes the results of one model. Immutable for its callers."""

    async def prefetch(self) -> None:
        """Fetch what encoding will need; awaited like that of the decoder.

        Raises:
            StreamlabelError: nothing can be encoded; the service stops.
        """
        ...

    def label(
        self,
        record: TextRecord,
        prediction: Prediction,
        decision: Decision,
        timings: Timings,
        *,
        topic: str,
    ) -> Outbound:
        """Return the record for the labels topic; the text is not in it. Does not wait."""
        ...

    def review(
        self,
        record: TextRecord,
        prediction: Prediction,
        decision: Decision,
        timings: Timings,
        *,
        topic: str,
        limit_bytes: int,
    ) -> Outbound:
        """Return the record for the review topic, with the text. Does not wait.

        A text that does not fit into ``limit_bytes`` is shortened and flagged. A result that is
        still too large becomes a dead letter.
        """
        ...
