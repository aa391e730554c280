"""Reads records from Kafka topics, as a member of a consumer group.

Problems that aiokafka leaves to its user, and their solutions here:

- aiokafka may return records of a partition before we may read it. ``fetch_state`` tracks which may
  be read; ``poll`` itself seeks to the committed offset, so no fetch is in progress then, and no
  record that was fetched before the seek is returned after it.
- A member that does not poll leaves the group after ``max_poll_interval_ms``, but still considers
  its partitions assigned. The pipeline polls rarely when its in-flight limit is reached, and
  watches progress itself (``http.live_after_s``), so the interval is set to a day.
- A record that cannot be decoded blocks the partition for ever: see ``record_batch_parser``.
"""

import asyncio
from collections.abc import Collection, Container, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka import TopicPartition as KafkaPartition
from aiokafka import errors as kafka_errors

from streamlabel.config.kafka import InputSettings, KafkaSettings
from streamlabel.consumer.core.ports import AssignmentListener, BrokerRole, Clock, HeldBack
from streamlabel.consumer.core.records import Position, SourceRecord, TopicPartition
from streamlabel.consumer.delivery.time_range import TimeRange
from streamlabel.consumer.kafka.aiokafka_internals.group import (
    client_of,
    coordinator_of,
    fetcher_has_ended,
    is_member,
    no_partition,
    request_rejoin,
    sticky_assignor,
)
from streamlabel.consumer.kafka.clients import start_client, stop_consumer
from streamlabel.consumer.kafka.connection import connection_options
from streamlabel.consumer.kafka.errors import broker_error, mapped
from streamlabel.consumer.kafka.fair_fetch import FairFetch
from streamlabel.consumer.kafka.fetch_state import FetchState
from streamlabel.consumer.kafka.group_membership import Membership
from streamlabel.consumer.kafka.input_topic import InputTopic
from streamlabel.consumer.kafka.lease import Lease
from streamlabel.consumer.kafka.links import Links
from streamlabel.consumer.kafka.matching_topics import MatchingTopics
from streamlabel.consumer.kafka.passwords import keep_password
from streamlabel.consumer.kafka.range_offsets import RangeProgress, ReadCount
from streamlabel.consumer.kafka.reaching import reaching
from streamlabel.consumer.kafka.record_batch_parser import read_undecodable
from streamlabel.consumer.kafka.start_offsets import recreated
from streamlabel.consumer.kafka.static_membership import StaticMembership, is_fenced, same_name
from streamlabel.consumer.kafka.throttling import note_throttling
from streamlabel.consumer.kafka.topics import ensure_topics
from streamlabel.errors import BrokerError

__all__ = ["KafkaSource"]

_log = structlog.get_logger(__name__)

# As ``Position(...)``, without a call in Python for every record.
_new_tuple = tuple.__new__
_DAY_MS = 86_400_000
_REVOKE_MARGIN_MS = 10_000  # between our time limit for a revoke and the broker's
_SLICE_S = 0.2  # one wait for records; a newly admitted partition is noticed after this
_COMMIT_TIMEOUT_S = 10.0


class KafkaSource:
    """Implements ``RecordSource``.

    Args:
        revoke_timeout_s: time limit of ``listener.revoked``; the broker waits 10 s longer.
        time_range: of a bounded run: no record outside of it is returned.
        not_ours: topics that no pattern of the input may match.

    Attributes:
        lease: until when our membership is certain; a sink may check it before sending.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        source: InputSettings,
        clock: Clock,
        *,
        revoke_timeout_s: float,
        time_range: TimeRange | None = None,
        not_ours: Collection[str] = (),
    ) -> None:
        self._kafka = kafka
        self._source = source
        self._clock = clock
        self._revoke_timeout_s = revoke_timeout_s
        self._time_range = time_range
        self._read = ReadCount()
        self.lease = Lease(kafka)
        self._fetch_state = FetchState()
        self._stopped = asyncio.Event()
        self._consumer: AIOKafkaConsumer | None = None
        self._topics: dict[str, InputTopic] = {}
        self._membership: Membership | None = None
        self._watching: dict[str, asyncio.Task[None]] = {}
        self._matching = MatchingTopics(source, not_ours=not_ours)
        self._fair_fetch = FairFetch(source.weights)
        self._static = StaticMembership(session_s=kafka.session_timeout_ms / 1000)
        self._links = Links()

    async def start(self, listener: AssignmentListener) -> None:
        """Check the topics and join the group; partitions are assigned later."""
        await ensure_topics(self._kafka, list(self._source.weights))
        consumer = await self._new_consumer()
        async with reaching(self._kafka, "connecting to Kafka"):
            await start_client(consumer.start(), stop=partial(stop_consumer, consumer))
        self._consumer = consumer
        self.lease.follow(coordinator_of(consumer))
        with mapped("looking for the topics of input.topics"):
            await self._matching.find(consumer)
        self._membership = Membership(
            self._fetch_state,
            listener,
            first_offset=self._first_offset,
            pause=consumer.pause,
            revoke_timeout_s=self._revoke_timeout_s,
            replaced=self._replaced,
        )
        # After start(), or start() would wait for the whole first rebalance.
        self._subscribe()
        if self._time_range is None:
            following = self._matching.follow(
                consumer,
                every_s=self._kafka.metadata_max_age_ms / 1000,
                on_change=partial(self._membership.give_up, self._subscribe),
            )
            self._watching[""] = asyncio.get_running_loop().create_task(following)

    def _subscribe(self) -> None:
        """Read the topics that there are now; their partitions are assigned later."""
        weights = self._matching.weights
        loop = asyncio.get_running_loop()
        for name in weights.keys() - self._topics.keys():
            self._topics[name] = InputTopic(
                self._running,
                name,
                kafka=self._kafka,
                source=self._source,
                on_another=self._on_another_topic,
                time_range=self._time_range,
            )
            self._watching[name] = loop.create_task(self._topics[name].watch.run())
        for name in self._topics.keys() - weights.keys():
            del self._topics[name]
            self._watching.pop(name).cancel()
        self._fair_fetch.add(weights)
        self._running.subscribe(list(weights), listener=self._membership)

    async def _first_offset(self, partition: KafkaPartition) -> int:
        topic = self._topics[partition.topic]
        offset = await topic.first_offset(partition)
        if topic.range is not None:
            self._fetch_state.end_at(partition, topic.range.mark(partition.partition).end)
        return offset

    async def progress(self) -> RangeProgress:
        """Return how far the group is in a bounded run.

        Complete: the end of every partition is stored, so everything before is delivered, by
        whichever member.

        Raises:
            BrokerError: no answer.
        """
        if not self._topics or not all(map(self._fetch_state.has_ended, self._fetch_state.owned())):
            return "reading"
        with mapped("asking for the offsets of the group"):
            found = {
                "reading" if topic.range is None else await topic.range.progress()
                for topic in self._topics.values()
            }
        return "complete" if found == {"complete"} else min(found - {"complete"})

    def _replaced(self) -> BrokerError | None:
        """Return an error if another process uses our ``kafka.group_instance_id``."""
        has_id = is_member(self._running)
        if self._kafka.group_instance_id is None or has_id:
            return None
        return same_name(self._kafka) if self._static.replaced(self._clock.now_s()) else None

    def _on_another_topic(self, topic: str) -> None:
        """Give up all partitions: the records read of this topic belong to an earlier one."""
        if self._membership is None:
            return
        if self._source.out_of_range == "stop":
            self._membership.fail(recreated(topic, self._kafka.group_id))
        else:
            request_rejoin(self._running)

    def read_items(self) -> Mapping[TopicPartition, int]:
        """Return how many records of each partition were read, in a bounded run."""
        return self._read.items()

    def metadata(self, partition: TopicPartition) -> str:
        """Return what to store with the offsets of a partition: see ``InputTopic.metadata``."""
        topic = self._topics.get(partition.topic)
        return "" if topic is None else topic.metadata(partition.partition)

    async def _new_consumer(self) -> AIOKafkaConsumer:
        assignor = sticky_assignor()
        options = await connection_options(self._kafka)
        consumer = AIOKafkaConsumer(
            **options,
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
        password = options.get("sasl_plain_password")
        keep_password(client_of(consumer), self._kafka.security, password)
        note_throttling(client_of(consumer), "consumer")
        return consumer

    async def poll(
        self, *, max_items: int, timeout_s: float, held: Container[TopicPartition] = ()
    ) -> Sequence[SourceRecord]:
        """Return records of admitted partitions."""
        deadline_s = self._clock.now_s() + timeout_s
        while not self._stopped.is_set():
            if self._membership is not None and self._membership.failure is not None:
                raise self._membership.failure
            self._check_fetcher()
            self._seek_admitted()
            wait_s = min(_SLICE_S, max(0.0, deadline_s - self._clock.now_s()))
            records = await self._fetch(max_items, wait_s, held)
            if records or max_items == 0 or self._clock.now_s() >= deadline_s:
                if self._time_range is not None:
                    self._read.read(records)
                return records
        return []

    def _check_fetcher(self) -> None:
        """Raise if aiokafka's fetcher has ended; 0.14.0 itself would just return nothing."""
        if fetcher_has_ended(self._running):
            raise BrokerError(f"reading {self._names}: aiokafka's fetcher has ended; restart")

    async def commit(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        """Store next offsets; never one below that with which the partition was admitted."""
        offsets = {
            KafkaPartition(*partition): (next_offset, self.metadata(partition))
            for partition, next_offset in next_offsets.items()
            if self._fetch_state.may_commit(KafkaPartition(*partition), next_offset)
        }
        if offsets:
            with mapped("committing offsets"):
                async with asyncio.timeout(_COMMIT_TIMEOUT_S):
                    await self._running.commit(offsets)

    async def restart(self, partition: TopicPartition) -> None:
        """Restart a partition at the committed offset.

        Waits for one heartbeat first, from which a member that was paused learns that its
        partitions were revoked; otherwise it would fence their new owner.
        """
        moved = KafkaPartition(*partition)
        if self._membership is None or not self._fetch_state.is_owned(moved):
            return
        self._fetch_state.shut(moved)
        self._pause([moved])
        await self._membership.end_admissions([moved])
        epoch = self._fetch_state.epoch(moved)
        await asyncio.sleep(self._kafka.heartbeat_interval_ms / 1000)
        if self._fetch_state.is_owned(moved) and self._fetch_state.epoch(moved) == epoch:
            self._membership.start_admission(moved)

    def positions(self) -> Mapping[TopicPartition, int]:
        """Next offset to return, per ready partition that has advanced since reading began."""
        moved = self._assigned(self._fetch_state.moved())
        return {TopicPartition(*partition): offset for partition, offset in moved.items()}

    async def still_owns(self, partition: TopicPartition) -> bool:
        """Whether the partition is assigned to us and the group confirms our membership."""
        return self._fetch_state.is_owned(KafkaPartition(*partition)) and await self.lease.confirm()

    def lag(self) -> Mapping[TopicPartition, int]:
        """Records between the read position and the end, per ready partition.

        The end of what can be read: records behind an open transaction are not counted.
        """
        lags = {}
        for partition, position in self._assigned(self._fetch_state.positions()).items():
            end = self._running.last_stable_offset(partition)
            if end is not None:
                end = min(end, self._fetch_state.end(partition) or end)
                lags[TopicPartition(*partition)] = max(0, end - position)
        return lags

    def held_back(self) -> Mapping[TopicPartition, HeldBack]:
        """Offsets behind open transactions, per ready partition."""
        held = {}
        for partition in self._assigned(self._fetch_state.positions()):
            stable = self._running.last_stable_offset(partition)
            end = self._running.highwater(partition)
            if stable is not None and end is not None:
                held[TopicPartition(*partition)] = HeldBack(stable, max(0, end - stable))
        return held

    async def connections(self) -> Mapping[BrokerRole, bool]:
        """Whether the leaders of what is read, and the group's coordinator, answer.

        If a topic is missing, it cannot be read, so the role consumer is down.
        """
        if self._stopped.is_set():
            return {}
        consumer = self._consumer
        if consumer is None:
            return {"consumer": False, "coordinator": False}
        is_missing = any(topic.watch.is_missing for topic in self._topics.values())
        return {
            "consumer": not is_missing
            and await self._links.reading(consumer, self._assigned(self._fetch_state.positions())),
            "coordinator": self._links.coordinating(consumer),
        }

    async def stop(self) -> None:
        """Leave the group within seconds, also with the brokers down."""
        self._stopped.set()
        for task in self._watching.values():
            task.cancel()
        await asyncio.gather(*self._watching.values(), return_exceptions=True)
        if self._membership is not None:
            await self._membership.end_admissions()
        if self._consumer is not None:
            await stop_consumer(self._consumer)
        self._fetch_state.clear()

    @property
    def _running(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise BrokerError("the source was not started. This is a bug.")
        return self._consumer

    @property
    def _names(self) -> str:
        return ", ".join(self._matching.weights)

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
        self._seek(dict(self._fetch_state.take_admitted()))
        # aiokafka would go on to fetch what nobody wants
        ended = filter(self._fetch_state.has_ended, self._fetch_state.ready())
        self._pause([*ended])

    async def _fetch(
        self, max_items: int, wait_s: float, held: Container[TopicPartition]
    ) -> list[SourceRecord]:
        ready = self._fetch_state.ready()
        nothing = no_partition(self._source.topic)
        fetch = (
            self._fair_fetch.fetch(
                self._running,
                [each for each in ready if self._is_wanted(each, held)],
                always=nothing,
                max_items=max_items,
                timeout_ms=int(wait_s * 1000),
            )
            if max_items
            else self._running.getmany(nothing, timeout_ms=0)
        )
        try:
            fetched = await self._unless_stopped(fetch)
        except kafka_errors.OffsetOutOfRangeError as error:
            await self._begin_again(error)
            return []
        except kafka_errors.NoOffsetForPartitionError:
            return []  # aiokafka looks up a start offset of a partition that is not admitted yet
        except kafka_errors.CorruptRecordException:
            return await self._read_undecodable(ready, max_items)
        except kafka_errors.KafkaError as error:
            if is_fenced(error):
                raise same_name(self._kafka) from error
            raise broker_error(error, f"reading {self._names}", right="Read") from error
        except Exception:  # noqa: BLE001 decoding may raise anything: UnicodeDecodeError, zlib, ...
            return await self._read_undecodable(ready, max_items)
        reached = await self._reached(ready)
        now_s = self._clock.now_s()
        # From here to the return of ``poll`` nothing is awaited: see ``RecordSource.positions``.
        records = [
            SourceRecord(
                _new_tuple(Position, (record.topic, record.partition, record.offset)),
                record.key,
                record.value,
                record.headers,
                record.timestamp,
                now_s,
            )
            for partition, records in fetched.items()
            for record in self._fetch_state.accept(partition, ready, records)
        ]
        for partition, position in reached.items():
            self._fetch_state.advance(partition, ready, position)
        return records

    def _is_wanted(self, partition: KafkaPartition, held: Container[TopicPartition]) -> bool:
        is_held = TopicPartition(*partition) in held
        return not is_held and not self._fetch_state.has_ended(partition)

    async def _begin_again(self, error: kafka_errors.OffsetOutOfRangeError) -> None:
        for partition, offset in error.args[0].items():
            if not self._fetch_state.is_ready(partition):
                continue
            epoch = self._fetch_state.epoch(partition)
            topic = self._topics[partition.topic]
            target = await topic.start.instead_of(partition, offset)
            if target is not None:
                self._fetch_state.admit(partition, epoch, target)
                continue
            with mapped(f"looking for the topic {partition.topic}"):
                is_another = await topic.watch.look()
            if not is_another and self._fetch_state.epoch(partition) == epoch:
                self._go_back(partition, offset)

    def _go_back(self, partition: KafkaPartition, offset: int) -> None:
        """Restart a partition at an earlier offset than the last one read."""
        if self._membership is not None:
            self._topics[partition.topic].start.is_beyond_the_end(partition, offset)
            self._pause([partition])
            self._membership.begin_again(partition)

    async def _unless_stopped(
        self, fetch: Coroutine[Any, Any, Mapping[KafkaPartition, list[ConsumerRecord]]]
    ) -> Mapping[KafkaPartition, list[ConsumerRecord]]:
        """Await a fetch until a stop or failure; during a rebalance it has no time limit."""
        fetching = asyncio.ensure_future(fetch)
        ends = (
            [self._stopped]
            if self._membership is None
            else [self._stopped, self._membership.has_failed]
        )
        ending = [asyncio.ensure_future(event.wait()) for event in ends]
        try:
            await asyncio.wait([fetching, *ending], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in ending:
                each.cancel()
            if not fetching.done():
                fetching.cancel()
        return fetching.result() if fetching.done() else {}

    async def _reached(self, ready: Mapping[KafkaPartition, int]) -> dict[KafkaPartition, int]:
        """Return how far aiokafka read, offsets without records included (markers, aborted ones).

        Only for partitions that did not change since the fetch began: one that was revoked and
        assigned again has no position until the next poll seeks, and aiokafka would wait for it.
        """
        if self._stopped.is_set() or (self._membership and self._membership.failure):
            return {}
        return {
            partition: await self._running.position(partition)
            for partition in self._assigned(self._fetch_state.positions())
            if ready.get(partition) == self._fetch_state.epoch(partition)
        }

    async def _read_undecodable(
        self, ready: Mapping[KafkaPartition, int], max_items: int
    ) -> list[SourceRecord]:
        """Read one fetch of every partition with our own parser; aiokafka continues after it.

        All positions are set again, because those of the other partitions advanced although their
        records were lost with the exception.
        """
        self._pause(list(ready))
        positions = self._fetch_state.positions()
        with mapped(f"reading undecodable records of {self._names}"):
            found = await read_undecodable(
                await connection_options(self._kafka),
                {each: positions[each] for each in ready if each in positions},
                max_bytes=self._kafka.max_partition_fetch_bytes,
            )
        now_s = self._clock.now_s()
        records: list[SourceRecord] = []
        for partition, parsed in found.items():
            room = max_items - len(records)
            accepted = self._fetch_state.accept(partition, ready, parsed.records[:room])
            if len(parsed.records) <= room:
                self._fetch_state.advance(partition, ready, parsed.next_offset)
            records += [record.at(partition, now_s) for record in accepted]
        self._seek(self._fetch_state.positions())
        return records
