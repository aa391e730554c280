"""Size limits of outputs and batches, and how outputs are split into batches."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from operator import attrgetter
from typing import Final

from streamlabel.config.kafka import KafkaSettings
from streamlabel.consumer.core.ports import Outbound
from streamlabel.errors import RecordError

__all__ = ["OVERHEAD_BYTES", "SizeLimits", "batches", "by_topic"]

# A batch is a record batch header and its records. The rest is room for the request around it.
OVERHEAD_BYTES: Final = 128
# Larger batches save no more per record, but occupy a request thread of the broker for longer.
_TARGET_BYTES: Final = 256 * 1024

_SIZE: Final = attrgetter("size_bytes")
_TOPIC: Final = attrgetter("topic")


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
        self, outbounds: Sequence[Outbound], indexes: Sequence[int]
    ) -> dict[int, RecordError]:
        """Return index -> reason, for outputs that are too large for their topic."""
        if len(outbounds) == len(indexes):  # all of them, and hardly ever one is
            least = min(map(self.record_bytes, set(map(_TOPIC, outbounds))), default=0)
            if max(map(_SIZE, outbounds), default=0) <= least:
                return {}
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


def by_topic(outbounds: Sequence[Outbound], indexes: Iterable[int]) -> dict[str, list[int]]:
    """Return the indexes of the outputs of each topic, in order."""
    numbers = list(indexes)
    topics = dict.fromkeys(map(_TOPIC, map(outbounds.__getitem__, numbers)))
    if len(topics) == 1:
        return dict.fromkeys(topics, numbers)
    return {
        topic: [index for index in numbers if outbounds[index].topic == topic] for topic in topics
    }


def batches(
    outbounds: Sequence[Outbound], indexes: Iterable[int], limits: SizeLimits
) -> Iterator[list[int]]:
    """Split outputs into batches of one topic each; yields indexes, in order per topic."""
    for topic, numbers in by_topic(outbounds, indexes).items():
        sizes = map(_SIZE, map(outbounds.__getitem__, numbers))
        ends = [0, *accumulate(sizes)]  # bytes of all outputs before, by number
        start = 0
        while start < len(numbers):
            room_bytes = ends[start] + limits.batch_bytes(topic)
            end = max(start + 1, bisect_right(ends, room_bytes) - 1)
            yield numbers[start:end]
            start = end
