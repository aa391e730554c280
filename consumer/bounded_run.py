"""A bounded run of the service: reads a range of the input, ends by itself, and says what it did.

It is the service with a source that returns nothing beyond the range. It ends when the group has
stored the end of every partition: so all outputs are acknowledged, whichever member wrote them. A
member that has read its partitions stays until then, to take over those of one that is lost.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final, Literal

import structlog

from streamlabel.config.settings import Settings
from streamlabel.consumer import service
from streamlabel.consumer.core.causes import first_cause
from streamlabel.consumer.core.ports import (
    BrokerRole,
    Clock,
    Outbound,
    RecordSink,
    ReportsConnections,
)
from streamlabel.consumer.core.records import TopicPartition
from streamlabel.consumer.core.signals import DrainOnSignal
from streamlabel.consumer.delivery.time_range import TimeRange
from streamlabel.consumer.kafka.open_ports import KafkaSource, open_ports
from streamlabel.errors import BrokerError, OutputRefusedError, PartlyDeliveredError
from streamlabel.models.core.system_clock import SystemClock
from streamlabel.models.worker.early_process import EarlyProcess

__all__ = ["Counted", "CountingSink", "Summary", "run_range"]

_log = structlog.get_logger(__name__)

_LOOK_S: Final = 0.5
# A member that was just assigned a partition begins it within seconds, also while brokers are busy.
_OTHERS_S: Final = 60.0

# Of one input partition: records read, those read again after a failure once; and acknowledged
# outputs on each topic.
Counted = Literal["read", "labels", "review", "dead_letters"]


@dataclass(frozen=True, slots=True)
class Summary:
    """The end of a bounded run.

    Attributes:
        is_complete: the group has read all of the range; False after a signal.
        seconds: duration, with the time to load the model.
        partitions: what this process did, by input partition; without those that it did not read.
    """

    is_complete: bool
    seconds: float
    partitions: Mapping[TopicPartition, Counter[Counted]]


async def run_range(
    settings: Settings,
    time_range: TimeRange,
    *,
    start_timeout_s: float | None = None,
    stop: asyncio.Event | None = None,
    configure_worker: Callable[[], None] | None = None,
    early: EarlyProcess | None = None,
) -> Summary:
    """Run until the range is complete, or a signal starts the drain.

    Args:
        settings: of the service; group and output topics are those of this run.
        time_range: what to read.
        start_timeout_s: as for the service.
        stop: as for the service.
        configure_worker: as for the service.
        early: as for the service.

    Raises:
        StreamlabelError: as the service; run it again with the same group to continue.
    """
    clock = SystemClock()
    began_s = clock.now_s()
    source, sink = open_ports(settings, clock, time_range=time_range)
    counts: dict[TopicPartition, Counter[Counted]] = defaultdict(Counter)
    counted = CountingSink(sink, settings, counts)
    complete, asked = asyncio.Event(), stop or asyncio.Event()
    try:
        with nullcontext() if stop is not None else DrainOnSignal(asked.set):
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(_until_complete(source, complete, asked, clock))
                await service.run(
                    settings,
                    start_timeout_s=start_timeout_s,
                    stop=asked,
                    configure_worker=configure_worker,
                    ports=(source, counted),
                    early=early,
                )
                asked.set()
                failure = await watching
    except BaseExceptionGroup as errors:
        raise first_cause(errors) from errors
    if failure is not None:
        raise failure
    for partition, items in source.read_items().items():
        counts[partition]["read"] = items
    return Summary(complete.is_set(), clock.now_s() - began_s, dict(sorted(counts.items())))


async def _until_complete(
    source: KafkaSource, complete: asyncio.Event, stop: asyncio.Event, clock: Clock
) -> BrokerError | None:
    """Wait for the end of the run, and let the service drain then.

    Returns:
        Why the run cannot end: a member of the group that is no bounded run has the other
        partitions, or the brokers refuse to say. The service drains in this case, too.
    """
    begun_s = clock.now_s()
    while not stop.is_set():
        await clock.sleep(_LOOK_S)
        try:
            progress = await source.progress()
        except BrokerError as error:
            if not error.retriable:
                stop.set()
                return error
            _log.debug("range_look_failed", error=str(error))
            begun_s = clock.now_s()  # nobody can begin a partition in an outage
            continue
        if progress == "complete":
            _log.info("range_complete")
            complete.set()
            stop.set()
        elif progress == "reading":
            begun_s = clock.now_s()
        elif clock.now_s() - begun_s > _OTHERS_S:
            stop.set()
            return BrokerError(
                f"other members of the group have partitions for {_OTHERS_S:g} s that they do not"
                " read as a bounded run over this range. Stop the service that runs in the group,"
                " or give another --group"
            )
    return None


class CountingSink:
    """Counts the acknowledged outputs of a sink; implements ``RecordSink``.

    Args:
        settings: their topics tell which outputs are labels, reviews and dead letters.
        counts: added to, by input partition.
    """

    def __init__(
        self,
        sink: RecordSink,
        settings: Settings,
        counts: Mapping[TopicPartition, Counter[Counted]],
    ) -> None:
        self._sink = sink
        self._counts = counts
        self._kinds: dict[str, Counted] = {
            **dict.fromkeys(settings.labels_topics, "labels"),
            **dict.fromkeys(settings.review_topics, "review"),
            settings.output.dead_letter_topic: "dead_letters",
        }

    @property
    def commits_offsets(self) -> bool:
        """As the sink."""
        return self._sink.commits_offsets

    @property
    def is_atomic(self) -> bool:
        """As the sink."""
        return self._sink.is_atomic

    async def start(self) -> None:
        """As the sink."""
        await self._sink.start()

    def limit_bytes(self, topic: str) -> int:
        """As the sink."""
        return self._sink.limit_bytes(topic)

    async def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """As the sink."""
        await self._sink.assigned(partitions)

    async def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """As the sink."""
        await self._sink.revoked(partitions)

    async def deliver(
        self, partition: TopicPartition, outbounds: Sequence[Outbound], next_offset: int
    ) -> None:
        """As the sink."""
        written: Iterable[int] = range(len(outbounds))
        try:
            await self._sink.deliver(partition, outbounds, next_offset)
        except (OutputRefusedError, PartlyDeliveredError) as error:
            written = error.written
            raise
        except BaseException:
            written = ()
            raise
        finally:
            kinds = [self._kinds[outbounds[index].topic] for index in written]
            self._counts[partition].update(kinds)

    async def connections(self) -> Mapping[BrokerRole, bool]:
        """As the sink."""
        sink = self._sink
        return await sink.connections() if isinstance(sink, ReportsConnections) else {}

    async def stop(self) -> None:
        """As the sink."""
        await self._sink.stop()
