"""Records out of a Kafka topic, as a member of a consumer group.

What aiokafka leaves to its user, and how it is solved here:

- Records may come out of a partition before it is ours to read. ``kafka_gate`` says which are;
  the seek to the committed offset is done by ``poll`` itself, so no fetch is under way then, and
  nothing that was read before the seek can come out after it.
- A member that does not poll leaves the group after ``max_poll_interval_ms`` and goes on to
  believe in its assignment. The pipeline polls rarely when its in-flight limit is reached, and
  watches progress itself (``http.live_after_s``): the interval is set to a day, out of the way.
- A record that cannot be decoded blocks the partition for ever: see ``kafka_salvage``.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka import TopicPartition as KafkaPartition
from aiokafka import errors as kafka_errors
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from streamlabel.config.kafka import InputSettings, KafkaSettings
from streamlabel.consumer.kafka_beginning import Beginning
from streamlabel.consumer.kafka_connection import connection_options
from streamlabel.consumer.kafka_errors import broker_error, mapped
from streamlabel.consumer.kafka_gate import Gate
from streamlabel.consumer.kafka_group import Membership, stop_consumer
from streamlabel.consumer.kafka_salvage import salvage
from streamlabel.consumer.ports import AssignmentListener, Clock
from streamlabel.consumer.records import Position, SourceRecord, TopicPartition
from streamlabel.consumer.topics import ensure_topics
from streamlabel.errors import BrokerError

__all__ = ["KafkaSource"]

_log = structlog.get_logger(__name__)

_DAY_MS = 86_400_000
_REVOKE_MARGIN_MS = 10_000  # between our budget for a revoke and the broker's patience
_SLICE_S = 0.2  # one wait for records; a newly admitted partition is noticed after this
_COMMIT_TIMEOUT_S = 10.0
_NOBODY = 2**31 - 1  # a partition that no topic has: polls for errors, returns no records


class KafkaSource:
    """Implements ``RecordSource``.

    Args:
        revoke_timeout_s: what ``listener.revoked`` may take; the broker waits 10 s longer.
    """

    def __init__(
        self, kafka: KafkaSettings, source: InputSettings, clock: Clock, *, revoke_timeout_s: float
    ) -> None:
        self._kafka = kafka
        self._source = source
        self._clock = clock
        self._revoke_timeout_s = revoke_timeout_s
        self._gate = Gate()
        self._stopped = asyncio.Event()
        self._consumer: AIOKafkaConsumer | None = None
        self._beginning: Beginning | None = None
        self._membership: Membership | None = None

    async def start(self, listener: AssignmentListener) -> None:
        """Check the topic and join the group; partitions come later."""
        await ensure_topics(self._kafka, [self._source.topic])
        consumer = await self._new_consumer()
        try:
            with mapped("connecting to Kafka"):
                await consumer.start()
        except BaseException:
            await stop_consumer(consumer)
            raise
        self._consumer = consumer
        self._beginning = Beginning(consumer, self._source, group=self._kafka.group_id)
        self._membership = Membership(
            self._gate,
            listener,
            first_offset=self._beginning.first_offset,
            pause=consumer.pause,
            revoke_timeout_s=self._revoke_timeout_s,
        )
        # After start(), or start() would wait for the whole first rebalance.
        consumer.subscribe([self._source.topic], listener=self._membership)

    async def _new_consumer(self) -> AIOKafkaConsumer:
        # The assignor keeps its memory in the class: a class of our own keeps it to this member.
        assignor = type("Sticky", (StickyPartitionAssignor,), {})
        return AIOKafkaConsumer(
            **await connection_options(self._kafka),
            group_id=self._kafka.group_id,
            group_instance_id=self._kafka.group_instance_id,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            partition_assignment_strategy=(assignor,),
            session_timeout_ms=self._kafka.session_timeout_ms,
            heartbeat_interval_ms=self._kafka.heartbeat_interval_ms,
            rebalance_timeout_ms=int(self._revoke_timeout_s * 1000) + _REVOKE_MARGIN_MS,
            max_poll_interval_ms=_DAY_MS,
            fetch_max_bytes=self._kafka.fetch_max_bytes,
            max_partition_fetch_bytes=self._kafka.max_partition_fetch_bytes,
        )

    async def poll(self, *, max_items: int, timeout_s: float) -> Sequence[SourceRecord]:
        """Return records of admitted partitions."""
        deadline_s = self._clock.now_s() + timeout_s
        while not self._stopped.is_set():
            if self._membership is not None and self._membership.failure is not None:
                raise self._membership.failure
            self._check_fetcher()
            self._seek_admitted()
            wait_s = min(_SLICE_S, max(0.0, deadline_s - self._clock.now_s()))
            records = await self._fetch(max_items, wait_s)
            if records or max_items == 0 or self._clock.now_s() >= deadline_s:
                return records
        return []

    def _check_fetcher(self) -> None:
        """Raise if aiokafka's fetcher has died: 0.14.0 would go on and return nothing for ever."""
        if self._running._fetcher.error_future.done():  # noqa: SLF001 see above
            raise BrokerError(
                f"reading {self._source.topic}: aiokafka's fetcher has ended; restart"
            )

    async def commit(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        """Store next offsets; never an older one than the partition was admitted with."""
        offsets = {
            KafkaPartition(*partition): next_offset
            for partition, next_offset in next_offsets.items()
            if self._gate.may_commit(KafkaPartition(*partition), next_offset)
        }
        if offsets:
            with mapped("committing offsets"):
                async with asyncio.timeout(_COMMIT_TIMEOUT_S):
                    await self._running.commit(offsets)

    async def restart(self, partition: TopicPartition) -> None:
        """Begin again at the committed offset.

        Waits for one heartbeat first: a member that was paused learns by it that its partitions
        are gone, instead of fencing their new owner.
        """
        moved = KafkaPartition(*partition)
        if self._membership is None or not self._gate.is_owned(moved):
            return
        self._gate.shut(moved)
        self._pause([moved])
        await self._membership.end_admissions([moved])
        epoch = self._gate.epoch(moved)
        await asyncio.sleep(self._kafka.heartbeat_interval_ms / 1000)
        if self._gate.is_owned(moved) and self._gate.epoch(moved) == epoch:
            self._membership.start_admission(moved)

    def lag(self) -> Mapping[TopicPartition, int]:
        """Records between the read position and the end, per ready partition.

        The end of what can be read: a transaction that somebody keeps open is no work left over.
        """
        lags = {}
        for partition, position in self._assigned(self._gate.positions()).items():
            end = self._running.last_stable_offset(partition)
            if end is not None:
                lags[TopicPartition(*partition)] = max(0, end - position)
        return lags

    async def stop(self) -> None:
        """Leave the group within seconds, also with the brokers down."""
        self._stopped.set()
        if self._membership is not None:
            await self._membership.end_admissions()
        if self._consumer is not None:
            await stop_consumer(self._consumer)
        self._gate.clear()

    @property
    def _running(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise BrokerError("the source was not started. This is a bug.")
        return self._consumer

    def _assigned(self, offsets: Mapping[KafkaPartition, int]) -> dict[KafkaPartition, int]:
        assigned = self._running.assignment()
        return {partition: offset for partition, offset in offsets.items() if partition in assigned}

    def _pause(self, partitions: Sequence[KafkaPartition]) -> None:
        for partition in self._running.assignment().intersection(partitions):
            self._running.pause(partition)

    def _seek(self, offsets: Mapping[KafkaPartition, int]) -> None:
        for partition, offset in self._assigned(offsets).items():
            self._running.seek(partition, offset)
            self._running.resume(partition)

    def _seek_admitted(self) -> None:
        self._seek(dict(self._gate.take_admitted()))

    async def _fetch(self, max_items: int, wait_s: float) -> list[SourceRecord]:
        ready = self._gate.ready()
        fetch = self._running.getmany(
            KafkaPartition(self._source.topic, _NOBODY),
            *(ready if max_items else ()),
            timeout_ms=int(wait_s * 1000) if max_items else 0,
            max_records=max_items or None,
        )
        try:
            fetched = await self._unless_stopped(fetch)
        except kafka_errors.OffsetOutOfRangeError as error:
            await self._begin_again(error)
            return []
        except kafka_errors.NoOffsetForPartitionError:
            return []  # aiokafka's own look for a start, of a partition not admitted yet
        except kafka_errors.CorruptRecordException:
            return await self._salvage(ready, max_items)
        except kafka_errors.KafkaError as error:
            raise broker_error(error, f"reading {self._source.topic}") from error
        except Exception:  # noqa: BLE001 whatever decoding raises: UnicodeDecodeError, zlib, ...
            return await self._salvage(ready, max_items)
        if not fetched:
            await self._skip_markers(ready)
        now_s = self._clock.now_s()
        return [
            SourceRecord(
                Position(record.topic, record.partition, record.offset),
                record.key,
                record.value,
                record.headers,
                record.timestamp,
                now_s,
            )
            for partition, records in fetched.items()
            for record in self._gate.accept(partition, ready, records)
        ]

    async def _begin_again(self, error: kafka_errors.OffsetOutOfRangeError) -> None:
        for partition, offset in error.args[0].items():
            if self._gate.is_ready(partition) and self._beginning is not None:
                epoch = self._gate.epoch(partition)
                target = await self._beginning.instead_of(partition, offset)
                self._gate.admit(partition, epoch, target)

    async def _unless_stopped(
        self, fetch: Coroutine[Any, Any, Mapping[KafkaPartition, list[ConsumerRecord]]]
    ) -> Mapping[KafkaPartition, list[ConsumerRecord]]:
        """Await a fetch, which waits for a rebalance without limit; a stop ends it."""
        fetching = asyncio.ensure_future(fetch)
        stopping = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait([fetching, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            if not fetching.done():
                fetching.cancel()
        return fetching.result() if fetching.done() else {}

    async def _skip_markers(self, ready: Mapping[KafkaPartition, int]) -> None:
        """Follow aiokafka over offsets without records, so that the lag can become 0.

        Only where nothing moved since the fetch began: a partition that was taken away and given
        back meanwhile has no position until the next poll seeks, and aiokafka would wait for that.
        """
        for partition in self._assigned(self._gate.positions()):
            if ready.get(partition) == self._gate.epoch(partition):
                self._gate.advance(partition, ready, await self._running.position(partition))

    async def _salvage(
        self, ready: Mapping[KafkaPartition, int], max_items: int
    ) -> list[SourceRecord]:
        """Read one fetch of every partition by our own parser, then let aiokafka go on behind it.

        All of its positions are set anew: those of the healthy partitions moved although their
        records were lost with the exception.
        """
        self._pause(list(ready))
        positions = self._gate.positions()
        with mapped(f"reading undecodable records of {self._source.topic}"):
            found = await salvage(
                await connection_options(self._kafka),
                {each: positions[each] for each in ready if each in positions},
                max_bytes=self._kafka.max_partition_fetch_bytes,
            )
        now_s = self._clock.now_s()
        records: list[SourceRecord] = []
        for partition, salvaged in found.items():
            room = max_items - len(records)
            accepted = self._gate.accept(partition, ready, salvaged.records[:room])
            if len(salvaged.records) <= room:
                self._gate.advance(partition, ready, salvaged.next_offset)
            records += [record.at(partition, now_s) for record in accepted]
        self._seek(self._gate.positions())
        return records
