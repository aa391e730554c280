"""The one loop: records in, outcomes out, offsets committed behind them.

    read -> decode -> prepare -> batch -> classify -> outcome -> lane (order) -> deliver -> commit

Four kinds of task run in one TaskGroup: a reader, a preparer, ``max_in_flight`` classifiers and a
committer; each assigned partition adds a lane. What happens to a record is in ``_admit``,
``_prepare``, ``_classify`` and ``_conclude``, in that order. Every record that was read holds a
slot in its lane until its outputs are acknowledged; only then may its offset be committed.
"""

import asyncio
from collections import Counter, deque
from dataclasses import dataclass

import structlog

from streamlabel.config.settings import Settings
from streamlabel.consumer.assignment import Assignment
from streamlabel.consumer.batching import Batch, MicroBatcher
from streamlabel.consumer.causes import first_cause
from streamlabel.consumer.counting import count_batch, count_outcomes
from streamlabel.consumer.decoding import Decoder
from streamlabel.consumer.drift_watch import DriftWatch
from streamlabel.consumer.guard import DeadLetterGuard
from streamlabel.consumer.in_flight import InFlight
from streamlabel.consumer.inference import Inference
from streamlabel.consumer.lane import Lane
from streamlabel.consumer.normalising import normaliser
from streamlabel.consumer.offsets import Release, Slot
from streamlabel.consumer.outcomes import Composer, Outcome, Timings
from streamlabel.consumer.ports import Clock, Metrics, RecordSink, RecordSource
from streamlabel.consumer.records import SourceRecord, TextRecord, TopicPartition
from streamlabel.consumer.starting import finished_before
from streamlabel.consumer.waiting import wait_all
from streamlabel.errors import (
    BrokerError,
    DecodeError,
    DrainTimeoutError,
    RecordError,
)
from streamlabel.models.base import Classifier, Prediction, PreparedText

__all__ = ["Pipeline"]

# How long a poll waits for the first record: also how long a drain waits for the reader.
_POLL_S = 0.25
# At a drain the poll under way may take this long; during a rebalance it would take for ever.
_LAST_POLL_S = 1.0
# Records of one poll: enough to be cheap, few enough that decoding them blocks the loop < 10 ms.
_POLL_ITEMS = 500
# While the device is busy, texts that come one by one are read many at once, which leaves the
# cores, and the brokers, to what is computed: so often while it is, and while full batches wait.
_BUSY_POLL_S = 0.1
_AHEAD_POLL_S = 0.5
# While the in-flight limit is reached the reader polls for nothing this often.
_KEEPALIVE_S = 30.0
# At a drain a failed commit is tried again this often.
_COMMIT_RETRY_S = 0.5
# After an error the last commit gets this long: the broker may be the one who does not answer.
_LAST_COMMIT_S = 5.0
# Texts prepared in one call, in items and characters: the answer should come within milliseconds.
_PREPARE_ITEMS = 256
# And in the first call after a pause, when the device has nothing to do meanwhile.
_FIRST_ITEMS = 32
_PREPARE_CHARACTERS = 1_000_000

_log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class _Item:
    """A text on its way; its lane says whether anyone still wants the answer."""

    record: TextRecord
    lane: Lane
    slot: Slot[Outcome]
    prepared: PreparedText | None = None


class Pipeline:
    """Reads, classifies and delivers until told to drain.

    Attributes:
        in_flight: the records read and not yet delivered.
        assignment: the partitions owned.
        last_progress_s: when something was last delivered, or nothing was waiting.
    """

    def __init__(
        self,
        *,
        source: RecordSource,
        sink: RecordSink,
        classifier: Classifier,
        composer: Composer,
        settings: Settings,
        clock: Clock,
        metrics: Metrics,
        start_timeout_s: float | None = None,
        drift: DriftWatch | None = None,
    ) -> None:
        self._drift = drift
        self._start_timeout_s = start_timeout_s
        self._source = source
        self._sink = sink
        self._classifier = classifier
        self._composer = composer
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._decoder = Decoder(settings.input)
        self._as_the_model_reads = normaliser(settings.input.normalise)
        self._guard = DeadLetterGuard(
            max_consecutive=settings.guard.max_consecutive,
            max_ratio=settings.guard.max_ratio,
            window_items=settings.guard.window_items,
        )
        self._batcher: MicroBatcher[_Item] = MicroBatcher(
            max_tokens=settings.batching.max_batch_tokens or classifier.info.batch_tokens,
            max_items=settings.batching.max_batch_items,
            linger_s=settings.batching.linger_s,
            pads=classifier.info.pads,
        )
        self._inference = Inference(on_memory_error=self._lower_budget, metrics=metrics)
        self.in_flight = InFlight(
            max_items=settings.batching.max_in_flight_items,
            max_bytes=settings.batching.max_in_flight_bytes,
        )
        self.assignment = Assignment(
            source=source,
            sink=sink,
            open_lane=self._open_lane,
            on_dropped=self._on_dropped,
            settings=settings.delivery,
            clock=clock,
            metrics=metrics,
        )
        self.last_progress_s = clock.now_s()
        self._decoded: deque[_Item] = deque()
        self._has_decoded = asyncio.Event()
        self._has_prepared = asyncio.Event()
        self._running = 0  # batches that the model has
        self._is_hungry = asyncio.Event()
        self._draining = asyncio.Event()
        metrics.set("token_budget", self._batcher.max_tokens)

    def drain(self) -> None:
        """Take no more records, finish what is in flight, then let ``run`` return."""
        if not self._draining.is_set():
            _log.info("drain_started", in_flight=self.in_flight.items)
            self._draining.set()
            self._has_prepared.set()
            self._is_hungry.set()

    async def run(self) -> None:
        """Run until drained.

        Raises:
            StreamlabelError: what stops the service; what was delivered before is committed.
        """
        tried_the_last_commit = False
        try:
            async with asyncio.TaskGroup() as group:
                joining = self.assignment.start(group, timeout_s=self._start_timeout_s)
                if not await finished_before(self._draining, joining):
                    self.assignment.stop()
                    return
                reader = group.create_task(self._read())
                stages = [group.create_task(self._prepare())]
                stages.append(group.create_task(self._commit_regularly()))
                for _ in range(self._classifier.max_in_flight):
                    stages += [group.create_task(self._classify())]
                await self._draining.wait()
                deadline_s = self._clock.now_s() + self._settings.delivery.drain_timeout_s
                await self._finish_in_flight(reader, deadline_s)
                tried_the_last_commit = True
                await self._commit_the_last(deadline_s)
                self.assignment.stop()
                for stage in stages:
                    stage.cancel()
        except BaseExceptionGroup as errors:
            raise first_cause(errors) from errors
        finally:
            if not tried_the_last_commit:
                await self._commit_after_an_error()
            await self._source.stop()

    async def _finish_in_flight(self, reader: asyncio.Task[None], deadline_s: float) -> None:
        read_no_more = asyncio.Event()
        reader.add_done_callback(lambda _: read_no_more.set())
        if not await wait_all([read_no_more], _LAST_POLL_S, self._clock):
            reader.cancel()  # it waits for the group, and what it would bring is not wanted
        left_s = max(0.0, deadline_s - self._clock.now_s())
        if not await wait_all([self.in_flight.is_empty], left_s, self._clock):
            raise DrainTimeoutError(self.in_flight.items)

    async def _commit_the_last(self, deadline_s: float) -> None:
        while not await self.assignment.commit():
            if self._clock.now_s() > deadline_s:
                raise BrokerError(
                    "the last offsets could not be committed before the drain deadline; their"
                    " records will be read and written again"
                )
            await self._clock.sleep(_COMMIT_RETRY_S)

    async def _commit_after_an_error(self) -> None:
        """What was delivered by then need not be done again."""
        try:
            async with asyncio.timeout(_LAST_COMMIT_S):
                await self.assignment.commit()
        except (BrokerError, TimeoutError) as error:
            _log.warning("last_commit_failed", error=str(error))

    async def _commit_regularly(self) -> None:
        while True:
            await self._clock.sleep(self._settings.delivery.commit_interval_s)
            await self.assignment.commit()

    # A record's way, in order.

    async def _read(self) -> None:
        while not self._draining.is_set():
            if not self.in_flight.has_room.is_set():
                if not await wait_all([self.in_flight.has_room], _KEEPALIVE_S, self._clock):
                    await self._source.poll(max_items=0, timeout_s=0)
                continue
            room = min(self.in_flight.room_items, _POLL_ITEMS)
            records = await self._source.poll(max_items=room, timeout_s=_POLL_S)
            topics = Counter(record.position.topic for record in records if self._admit(record))
            for topic, count in topics.items():
                self._metrics.increment("records_consumed", count, topic=topic)
            self._has_decoded.set()
            await self._while_the_device_is_busy()

    async def _while_the_device_is_busy(self) -> None:
        """Wait for the next poll, until the device may want more at the latest."""
        if self._is_device_busy:
            self._is_hungry.clear()
            longest_s = _AHEAD_POLL_S if self._batcher.is_ahead else _BUSY_POLL_S
            await wait_all([self._is_hungry], longest_s, self._clock)

    def _admit(self, record: SourceRecord) -> bool:
        """Take a record in; return whether it is ours."""
        lane = self.assignment.lane(record.position.topic_partition)
        if lane is None:
            return False  # revoked between poll and here; its new owner reads it
        slot = lane.started(record)
        if self.in_flight.items == 0:
            self.last_progress_s = self._clock.now_s()
        self.in_flight.add(slot.size_bytes)
        try:
            text = self._decoder.decode(record)
        except DecodeError as error:
            if error.reason == "empty_text" and self._settings.input.empty_text == "skip":
                lane.finished(slot, self._composer.skipped(record, error.reason))
            else:
                lane.finished(slot, self._composer.dead(record, error))
        else:
            self._decoded.append(_Item(text, lane, slot))
        return True

    async def _prepare(self) -> None:
        max_items = _FIRST_ITEMS
        while True:
            items = self._take_decoded(max_items)
            if not items:
                self._has_decoded.clear()
                await self._has_decoded.wait()
                max_items = _FIRST_ITEMS
                continue
            max_items = _PREPARE_ITEMS
            texts = [self._as_the_model_reads(item.record.text) for item in items]
            results = await self._inference.run(self._classifier.prepare, texts)
            now_s = self._clock.now_s()
            for item, result in zip(items, results, strict=True):
                if isinstance(result, RecordError):
                    self._conclude(item, self._composer.dead(item.record.source, result))
                elif not item.lane.closed:
                    item.prepared = result
                    self._batcher.add(item, tokens=result.tokens, rows=result.rows, now_s=now_s)
            self._has_prepared.set()

    def _take_decoded(self, max_items: int) -> list[_Item]:
        items: list[_Item] = []
        characters = 0
        while self._decoded and len(items) < max_items and characters < _PREPARE_CHARACTERS:
            item = self._decoded.popleft()
            if not item.lane.closed:
                items.append(item)
                characters += len(item.record.text)
        return items

    async def _classify(self) -> None:
        while True:
            began_s = self._clock.now_s()
            batch = self._next_batch(began_s)
            if batch is None:
                self._has_prepared.clear()
                deadline_s = None if self._is_device_busy else self._batcher.deadline_s
                linger_s = None if deadline_s is None else deadline_s - began_s
                await wait_all([self._has_prepared], linger_s, self._clock)
                continue
            if not self._batcher.is_ahead:
                self._is_hungry.set()
            prepared = [item.prepared for item in batch.items if item.prepared is not None]
            self._running += 1
            results = await self._inference.run(self._classifier.classify, prepared)
            self._running -= 1
            self._is_hungry.set()
            self._conclude_batch(batch, results, began_s)

    @property
    def _is_device_busy(self) -> bool:
        return self._running >= self._classifier.max_in_flight - self._classifier.info.queued

    def _next_batch(self, now_s: float) -> Batch[_Item] | None:
        """Return the next batch for a free device; one that queues for a busy one has to be full.

        What is queued grows no more, and texts cost less in large batches.
        """
        if self._is_device_busy and not self._batcher.is_full:
            return None
        return self._batcher.take(float("inf") if self._draining.is_set() else now_s)

    def _conclude_batch(
        self, batch: Batch[_Item], results: list[Prediction | RecordError], began_s: float
    ) -> None:
        inference_s = self._clock.now_s() - began_s
        now_ms = self._clock.epoch_ms()
        outcomes: list[Outcome] = []
        for item, result in zip(batch.items, results, strict=True):
            if isinstance(result, RecordError):
                outcome = self._composer.dead(item.record.source, result)
            else:
                queue_ms = (began_s - item.record.source.received_at_s) * 1000
                timings = Timings(now_ms, queue_ms, inference_s * 1000)
                outcome = self._composer.result(item.record, result, timings)
            outcomes.append(outcome)
            self._conclude(item, outcome)
        if self._drift is not None:
            lengths = (len(item.record.text) for item in batch.items)
            self._drift.saw(zip(outcomes, lengths, strict=True))
        queue_s = began_s - batch.oldest_since_s
        count_batch(
            batch, outcomes, queue_s=queue_s, inference_s=inference_s, metrics=self._metrics
        )

    def _conclude(self, item: _Item, outcome: Outcome) -> None:
        if not item.lane.closed:  # else it is late: its partition is gone, its new owner reads it
            item.lane.finished(item.slot, outcome)

    # What the stages are told.

    def _open_lane(self, partition: TopicPartition) -> Lane:
        return Lane(
            partition,
            sink=self._sink,
            composer=self._composer,
            guard=self._guard,
            settings=self._settings.delivery,
            clock=self._clock,
            metrics=self._metrics,
            on_delivered=self._on_delivered,
        )

    def _on_dropped(self, lane: Lane, items: int, size_bytes: int) -> None:
        self._batcher.discard(lambda item: item.lane is lane)
        self._decoded = deque(item for item in self._decoded if item.lane is not lane)
        self.in_flight.remove(items, size_bytes)

    def _on_delivered(self, release: Release[Outcome]) -> None:
        self.in_flight.remove(len(release.results), release.size_bytes)
        self.last_progress_s = self._clock.now_s()
        count_outcomes(release.results, self._clock.epoch_ms(), self._metrics)

    def _lower_budget(self) -> None:
        self._batcher.max_tokens = max(1, self._batcher.max_tokens // 2)
        self._metrics.set("token_budget", self._batcher.max_tokens)
        _log.warning("token_budget_lowered", max_batch_tokens=self._batcher.max_tokens)
