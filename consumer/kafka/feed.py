"""Writes the texts of a file to the input topic: ``streamlabel produce``."""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from streamlabel.config.settings import Settings
from streamlabel.consumer.core.ports import Clock
from streamlabel.consumer.core.records import TopicPartition
from streamlabel.consumer.files.feeding import Feeder
from streamlabel.consumer.files.source import FileSource
from streamlabel.consumer.kafka.errors import mapped
from streamlabel.consumer.kafka.producer import abandon, start_producer, stop_producer
from streamlabel.consumer.kafka.topics import ensure_topics
from streamlabel.errors import BrokerError, RecordError

__all__ = ["Fed", "feed"]

_CONNECT_TIMEOUT_S: Final = 15.0
# Sent and not yet acknowledged: enough to fill batches, few enough to bound memory.
_MAX_IN_FLIGHT_ITEMS: Final = 1000
_POLL_ITEMS: Final = 500
_POLL_S: Final = 0.25
_BAD_LINES_SHOWN: Final = 20


@dataclass(slots=True)
class Fed:
    """The progress so far.

    Attributes:
        line: the last line that was read.
        acknowledged: number of records that all replicas have.
        bad_lines: the first lines that could not become records: line, reason.
        bad: number of such lines.
    """

    line: int = 0
    acknowledged: int = 0
    bad: int = 0
    bad_lines: list[tuple[int, str]] = field(default_factory=list)

    def refuse(self, line: int, why: str) -> None:
        """Count a line that cannot become a record."""
        self.bad += 1
        if len(self.bad_lines) < _BAD_LINES_SHOWN:
            self.bad_lines.append((line, why))


async def feed(
    source: FileSource,
    feeder: Feeder,
    settings: Settings,
    *,
    topic: str,
    rate: float | None,
    clock: Clock,
    fed: Fed,
    on_progress: Callable[[Fed], None] = lambda _: None,
) -> None:
    """Write every record of the file to an input topic; return when all are acknowledged.

    Records with a key go to the partition that the Java client would choose, others to any.

    Args:
        source: the file; not started yet.
        feeder: makes keys and values.
        settings: the cluster.
        topic: the input topic.
        rate: maximum records per second; None: as fast as the broker accepts them.
        clock: measures the rate.
        fed: updated, also when this ends with an error.
        on_progress: called from time to time.

    Raises:
        ConfigError: the topic is missing.
        BrokerError: records were not acknowledged; ``fed`` says how many were.
    """
    await ensure_topics(settings.kafka, [topic])
    with mapped("connecting the producer"):
        producer = await start_producer(settings.kafka, timeout_s=_CONNECT_TIMEOUT_S)
    try:
        await source.start(_NoListener())
        headers = list(feeder.headers)
        run = _Run(
            producer, topic, headers, rate=rate, clock=clock, fed=fed, on_progress=on_progress
        )
        await run.all(source, feeder)
    except BaseException:
        await abandon(producer)
        raise
    finally:
        await source.stop()
    await stop_producer(producer)


class _Run:
    def __init__(
        self,
        producer: AIOKafkaProducer,
        topic: str,
        headers: list[tuple[str, bytes | None]],
        *,
        rate: float | None,
        clock: Clock,
        fed: Fed,
        on_progress: Callable[[Fed], None],
    ) -> None:
        self._producer = producer
        self._topic = topic
        self._headers = headers
        self._interval_s = 0.0 if rate is None else 1 / rate
        self._clock = clock
        self._fed = fed
        self._on_progress = on_progress
        self._under_way: deque[Awaitable[Any]] = deque()
        self._next_s = clock.now_s()

    async def all(self, source: FileSource, feeder: Feeder) -> None:
        while not source.exhausted.is_set():
            for record in await source.poll(max_items=_POLL_ITEMS, timeout_s=_POLL_S):
                line = record.position.offset
                try:
                    key, value = feeder.record(record)
                except RecordError as error:
                    self._fed.refuse(line, str(error))
                else:
                    await self._send(line, key, value)
                self._fed.line = line
            await self._settle(_MAX_IN_FLIGHT_ITEMS)
        await self._settle(0)

    async def _send(self, line: int, key: bytes | None, value: bytes) -> None:
        if self._interval_s:
            await self._in_time()
        try:
            with mapped(f"writing to {self._topic}"):
                future = await self._producer.send(
                    self._topic, value=value, key=key, headers=self._headers
                )
        except BrokerError as error:
            if not isinstance(error.__cause__, MessageSizeTooLargeError):
                raise
            self._fed.refuse(line, f"{len(value)} bytes are more than kafka.max_request_bytes")
        else:
            self._under_way.append(future)
            await self._settle(_MAX_IN_FLIGHT_ITEMS)

    async def _in_time(self) -> None:
        wait_s = self._next_s - self._clock.now_s()
        if wait_s > 0:
            await self._settle(0)
            await self._clock.sleep(max(0.0, self._next_s - self._clock.now_s()))
        # after an outage of the broker there is no burst to catch up
        self._next_s = max(self._next_s, self._clock.now_s() - 1) + self._interval_s

    async def _settle(self, at_most: int) -> None:
        """Wait until no more than ``at_most`` records are unacknowledged."""
        with mapped(f"writing to {self._topic}"):
            while len(self._under_way) > at_most:
                await self._under_way[0]
                self._under_way.popleft()
                self._fed.acknowledged += 1
        self._on_progress(self._fed)


class _NoListener:
    """A listener that does nothing: the partition of a file needs no preparation."""

    async def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Nothing."""

    async def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Nothing."""
