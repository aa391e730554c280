"""Size limits of outputs and batches, and how outputs are split into batches."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from streamlabel.config.kafka import KafkaSettings
from streamlabel.consumer.core.ports import Outbound
from streamlabel.errors import RecordError

__all__ = ["OVERHEAD_BYTES", "SizeLimits", "batches"]

# A batch is a record batch header and its records. The rest is room for the request around it.
OVERHEAD_BYTES: Final = 128
# Larger batches save no more per record, but occupy a request thread of the broker for longer.
_TARGET_BYTES: Final = 256 * 1024


class SizeLimits:
    """Largest output and batch of each topic: by its settings, lowered after refusals."""

    def __init__(self, kafka: KafkaSettings, batch_bytes: Mapping[str, int | None]) -> None:
        self._default = kafka.max_request_bytes - OVERHEAD_BYTES
        self._records = {
            topic: self._default if limit is None else min(self._default, limit - OVERHEAD_BYTES)
            for topic, limit in batch_bytes.items()
        }
        self._batches = {topic: min(limit, _TARGET_BYTES) for topic, limit in self._records.items()}

    def record_bytes(self, topic: str) -> int:
        """Largest ``Outbound.size_bytes``."""
        return self._records.get(topic, self._default)

    def batch_bytes(self, topic: str) -> int:
        """Largest sum of ``Outbound.size_bytes``, unless one record alone is larger."""
        return self._batches.get(topic, _TARGET_BYTES)

    def refused(
        self, outbounds: Sequence[Outbound], indexes: Iterable[int]
    ) -> dict[int, RecordError]:
        """Return index -> reason, for outputs that are too large for their topic."""
        return {
            index: RecordError(
                "output_too_large",
                f"its output has {outbounds[index].size_bytes} bytes, more than {topic} takes",
            )
            for index in indexes
            if outbounds[index].size_bytes > self.record_bytes(topic := outbounds[index].topic)
        }

    def lower(self, batch: Sequence[Outbound]) -> None:
        """Halve the limit after a batch that the broker refused, down to a single record."""
        topic = batch[0].topic
        size = sum(outbound.size_bytes for outbound in batch)
        if len(batch) == 1:
            self._records[topic] = size - 1
        self._batches[topic] = max(1, min(self.batch_bytes(topic), size) // 2)


def batches(
    outbounds: Sequence[Outbound], indexes: Iterable[int], limits: SizeLimits
) -> Iterator[list[int]]:
    """Split outputs into batches of one topic each; yields indexes, in order per topic."""
    filling: dict[str, tuple[list[int], int]] = {}
    for index in indexes:
        topic, size = outbounds[index].topic, outbounds[index].size_bytes
        batch, filled = filling.get(topic, ([], 0))
        if batch and filled + size > limits.batch_bytes(topic):
            yield batch
            batch, filled = [], 0
        batch.append(index)
        filling[topic] = (batch, filled + size)
    for batch, _ in filling.values():
        yield batch
