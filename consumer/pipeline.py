"""The one loop: records in, outcomes out, then their offsets committed.

    read -> decode -> plan -> model -> plan -> outcome -> deliver in order -> commit

A record passes ``_admit``, ``_start``, ``_take_results`` and ``_conclude``, in that order. The plan
decides which deployments are asked about a record, and which result becomes its outcome: a cascade
is another plan (see ``plans.plan``). Each deployment has a
``ModelRunner``, which forms batches, classifies and decides. Every record that was read holds a
slot in its partition's delivery until its outputs are acknowledged; only then may its offset be
committed.

A reader, a committer and the runners are tasks of one TaskGroup; each assigned partition adds the
task of its delivery.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter

import structlog

from streamlabel.config.settings import Settings
from streamlabel.consumer.batching.in_flight import InFlight
from streamlabel.consumer.batching.plans_in_use import PlansInUse
from streamlabel.consumer.batching.running_plan import RunningPlan, Watch
from streamlabel.consumer.core.causes import first_cause
from streamlabel.consumer.core.ports import Clock, Metrics, RecordSink, RecordSource
from streamlabel.consumer.core.records import SourceRecord, TopicPartition
from streamlabel.consumer.core.starting import finished_before
from streamlabel.consumer.core.waiting import wait_all
from streamlabel.consumer.delivery.assignment import Assignment
from streamlabel.consumer.delivery.deliverer import Deliverer, delivery_pace
from streamlabel.consumer.delivery.offset_tracker import Release, Slot
from streamlabel.consumer.delivery.pace import Pace
from streamlabel.consumer.delivery.partition_delivery import PartitionDelivery
from streamlabel.consumer.observability.counting import count_outcomes
from streamlabel.consumer.output.formats import ValueDecoder
from streamlabel.consumer.output.outcome import Outcome, Outcomes
from streamlabel.consumer.output.outcome_builder import OutcomeBuilder
from streamlabel.consumer.plans.deployment import Deployment
from streamlabel.consumer.plans.escalation import decoder_of, escalation
from streamlabel.consumer.plans.job import Classified, Escalated, Job, JobWatch, Result
from streamlabel.consumer.plans.plan import Ask, Done, Plan
from streamlabel.consumer.registry.opening import open_decoder
from streamlabel.consumer.routing.dead_letter_guard import DeadLetterGuard
from streamlabel.errors import BrokerError, DecodeError, DrainTimeoutError, StreamlabelError

__all__ = ["Pipeline"]

# How long a poll waits for the first record; a drain waits as long for the reader.
_POLL_S = 0.25
# At a drain the current poll may take this long; during a rebalance it could take for ever.
_LAST_POLL_S = 1.0
# Records of one poll: enough to be cheap, few enough that decoding them blocks the loop < 10 ms.
_POLL_ITEMS = 500
# Maximum interval of polls while every device is busy, and while full batches wait: texts that
# arrive one by one are then read in larger groups, which costs service and broker fewer CPU cycles.
_BUSY_POLL_S = 0.1
_AHEAD_POLL_S = 0.5
# While the in-flight limit is reached, or a format fetches, the reader polls for zero records at
# this interval, to remain a member of the group.
_KEEPALIVE_S = 30.0
# At the limit it looks at this interval which partitions are stuck.
_FULL_S = 1.0
# At a drain a failed commit is retried at this interval.
_COMMIT_RETRY_S = 0.5
# Time limit of the last commit after an error: the broker may be unreachable.
_LAST_COMMIT_S = 5.0

_PARTITION = attrgetter("position.topic", "position.partition")
_SIZE = attrgetter("size_bytes")

_log = structlog.get_logger(__name__)


class Pipeline:
    """Reads records, has the plan's deployments classify them, and delivers, until it is drained.

    Args:
        plan: decides which deployments classify a record.
        deployments: all deployments that the plan may name.
        decoder: of the input; by default the one that ``settings.input`` selects.
        drift: drift monitors by the id of the deployment they watch.

    Attributes:
        in_flight: the records read and not yet delivered.
        assignment: the assigned partitions.
        plans: which of them gets a record; swaps and canaries.
        last_progress_s: when something was last delivered, or nothing was waiting, or failure
            isolation made a step.
        is_held: reading pauses, and no plan runs: see ``hold``.
    """

    def __init__(
        self,
        *,
        source: RecordSource,
        sink: RecordSink,
        plan: Plan,
        deployments: Sequence[Deployment],
        settings: Settings,
        clock: Clock,
        metrics: Metrics,
        start_timeout_s: float | None = None,
        decoder: ValueDecoder | None = None,
        drift: Mapping[str, Watch] | None = None,
    ) -> None:
        self._start_timeout_s = start_timeout_s
        self._source = source
        self._sink = sink
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._decoder = decoder_of(settings, decoder or open_decoder(settings.input, clock))
        # no_row: a change event without a new row, which is no error
        self._skipped = (
            {"no_row", "empty_text"} if settings.input.empty_text == "skip" else {"no_row"}
        )
        self._outcome_builder = OutcomeBuilder(
            dead_letter_topic=settings.output.dead_letter_topic, limit_bytes=sink.limit_bytes
        )
        self._guard = DeadLetterGuard(
            max_consecutive=settings.guard.max_consecutive,
            max_ratio=settings.guard.max_ratio,
            window_items=settings.guard.window_items,
        )
        self._wants_work = asyncio.Event()
        self.plans = PlansInUse(self.prepare(plan, deployments, drift=drift))
        self._watch: JobWatch | None = None
        self.in_flight = InFlight(
            max_items=settings.batching.max_in_flight_items,
            max_bytes=settings.batching.max_in_flight_bytes,
        )
        self.assignment = Assignment(
            source=source,
            sink=sink,
            open_delivery=self._open_delivery,
            on_dropped=self._on_dropped,
            settings=settings.delivery,
            clock=clock,
            metrics=metrics,
        )
        self.last_progress_s = clock.now_s()
        # A partition that is assigned again continues at its earlier pace.
        self._paces = defaultdict[TopicPartition, Pace](partial(delivery_pace, settings.delivery))
        self._draining = asyncio.Event()
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._reads_nothing = asyncio.Event()
        self._error: StreamlabelError | None = None
        self.is_held = False

    def use(self, deployment: Deployment) -> None:
        """Replace the deployment with the same id: same model, another policy.

        Later results are decided by the new policy.
        """
        self.plans.present.runners[deployment.id].use(deployment)

    def deployments(self) -> list[Deployment]:
        """Return the deployments that are in use."""
        return [runner.deployment for runner in self.plans.present.runners.values()]

    def watch_jobs(self, watch: JobWatch) -> None:
        """Let this follow records and batches, such as traces; call it before ``run``.

        Without it no step of a record asks whether it is followed.
        """
        self._watch = watch

    def watch_drift(self, drift: Mapping[str, Watch]) -> None:
        """Show the decisions of the present plan to these monitors, by the id of the deployment."""
        self.plans.present.drift = drift

    def prepare(
        self,
        plan: Plan,
        deployments: Sequence[Deployment],
        *,
        drift: Mapping[str, Watch] | None = None,
    ) -> RunningPlan:
        """Return another plan, for ``plans``; arguments as of the pipeline."""
        return RunningPlan(
            plan,
            deployments,
            settings=self._settings,
            on_results=self._take_results,
            on_step=self._made_progress,
            wants_work=self._wants_work,
            clock=self._clock,
            metrics=self._metrics,
            drift=drift or {},
        )

    async def hold(self) -> None:
        """Read no more records; return when the present plan has none left, for ``resume``.

        The process remains a member of the group, and outputs are delivered. Cancelled while the
        last poll runs, it reads again at once; later it is cancelled when the plan is idle.
        """
        self._may_read.clear()
        self._wants_work.set()
        try:
            await self._reads_nothing.wait()
        except asyncio.CancelledError:
            self._may_read.set()
            raise
        retiring = asyncio.ensure_future(self.plans.finish())
        try:
            await asyncio.shield(retiring)
        finally:
            await retiring
            self.is_held = True

    def resume(self, running: RunningPlan) -> None:
        """Read again, for this plan."""
        self.is_held = False
        self.plans.replace(running)
        self._may_read.set()

    def fail(self, error: StreamlabelError) -> None:
        """Stop with an error instead of ``resume``; what was delivered is committed."""
        self._error = error
        self._may_read.set()

    @property
    def is_draining(self) -> bool:
        """Whether it reads no more, because it will end."""
        return self._draining.is_set()

    def drain(self) -> None:
        """Read no more records, finish what is in flight, then let ``run`` return."""
        if not self._draining.is_set():
            _log.info("drain_started", in_flight=self.in_flight.items)
            self._draining.set()
            self._wants_work.set()
            self._may_read.set()
            self._reads_nothing.set()
            self.plans.drain()

    async def run(self) -> None:
        """Run until drained.

        Raises:
            StreamlabelError: the error that stops the service; what was delivered before is
                committed.
        """
        tried_the_last_commit = False
        try:
            async with asyncio.TaskGroup() as group:
                joining = self.assignment.start(group, timeout_s=self._start_timeout_s)
                if not await finished_before(self._draining, joining):
                    self.assignment.stop()
                    return
                _log.info(
                    "pipeline_started",
                    max_in_flight=self.plans.present.max_in_flight,
                    longest_batch_s=self._settings.worker.batch_timeout_s,
                )
                reader = group.create_task(self._read())
                self.plans.start(group)
                committing = group.create_task(self._commit_regularly())
                await self._draining.wait()
                deadline_s = self._clock.now_s() + self._settings.delivery.drain_timeout_s
                await self._finish_in_flight(reader, deadline_s)
                tried_the_last_commit = True
                await self._commit_the_last(deadline_s)
                self.assignment.stop()
                committing.cancel()
                self.plans.stop()
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
            reader.cancel()  # blocked by a rebalance; its records are not needed
        left_s = max(0.0, deadline_s - self._clock.now_s())
        if not await wait_all([self.in_flight.is_empty], left_s, self._clock):
            raise DrainTimeoutError(self.in_flight.items)
        await self.assignment.settle(max(0.0, deadline_s - self._clock.now_s()))

    async def _commit_the_last(self, deadline_s: float) -> None:
        while not await self.assignment.commit():
            if self._clock.now_s() > deadline_s:
                raise BrokerError(
                    "the last offsets could not be committed before the drain deadline; their"
                    " records will be read and written again"
                )
            await self._clock.sleep(_COMMIT_RETRY_S)

    async def _commit_after_an_error(self) -> None:
        """Try one last commit, so that delivered records are not processed again."""
        try:
            async with asyncio.timeout(_LAST_COMMIT_S):
                await self.assignment.commit()
        except (BrokerError, TimeoutError) as error:
            _log.warning("last_commit_failed", error=str(error))

    async def _commit_regularly(self) -> None:
        while True:
            await self._clock.sleep(self._settings.delivery.commit_interval_s)
            await self.assignment.commit()

    # The steps of a record, in order.

    async def _read(self) -> None:
        waited_s = 0.0
        while await self._goes_on():
            reading = self.in_flight.next_reading(
                self.assignment.finished(),
                most=_POLL_ITEMS,
                now_s=self._clock.now_s(),
            )
            if reading.max_items == 0:
                if not await wait_all([self.in_flight.has_room], _FULL_S, self._clock):
                    waited_s += _FULL_S
                if waited_s >= _KEEPALIVE_S:
                    await self._source.poll(max_items=0, timeout_s=0)
                    waited_s = 0.0
                continue
            waited_s = 0.0
            records = await self._source.poll(
                max_items=reading.max_items, timeout_s=_POLL_S, held=reading.held
            )
            # A snapshot: a partition that is revoked and assigned again while a format fetches has
            # another delivery, for which these records are read again.
            positions = self._source.positions()
            deliveries: dict[tuple[str, int], PartitionDelivery] = dict(
                self.assignment.deliveries.items()
            )
            if records:
                await self._prefetch(records)
            self._admit(records, deliveries)
            for partition, position in positions.items():
                delivery = deliveries.get(partition)
                if delivery is not None and not delivery.closed:
                    delivery.passed(position)
            await self._while_all_devices_are_busy()

    async def _goes_on(self) -> bool:
        """Wait while reading pauses, and return whether it goes on: not at a drain."""
        if not self._may_read.is_set():
            self._reads_nothing.set()
            while not await wait_all([self._may_read], _KEEPALIVE_S, self._clock):
                await self._source.poll(max_items=0, timeout_s=0)
            self._reads_nothing.clear()
        if self._error is not None:
            raise self._error
        return not self._draining.is_set()

    async def _prefetch(self, records: Sequence[SourceRecord]) -> None:
        """Let the formats fetch what decoding and encoding need; this may take any time."""
        while True:
            try:
                async with asyncio.timeout(_KEEPALIVE_S):
                    await self._decoder.prefetch(records)
                    fetched: set[RunningPlan] = set()
                    # a plan that begins meanwhile gets these records, too
                    while plans := [each for each in self.plans.running if each not in fetched]:
                        for running in plans:
                            await running.prefetch()
                        fetched.update(plans)
            except TimeoutError:
                _log.warning("format_waits", records=len(records))
                await self._source.poll(max_items=0, timeout_s=0)
            else:
                return

    def _admit(
        self,
        records: Sequence[SourceRecord],
        deliveries: Mapping[tuple[str, int], PartitionDelivery],
    ) -> None:
        """Admit the records of partitions that are still ours; new owners read the others."""
        by_partition: dict[tuple[str, int], list[SourceRecord]] = {}
        for partition, run in groupby(records, key=_PARTITION):  # each is long
            by_partition.setdefault(partition, []).extend(run)
        for partition, group in by_partition.items():
            delivery = deliveries.get(partition)
            if delivery is None or delivery.closed:
                continue
            if self.in_flight.items == 0:
                self.last_progress_s = self._clock.now_s()
            slots = delivery.started(group)
            size_bytes, now_s = sum(map(_SIZE, slots)), self._clock.now_s()
            self.in_flight.add(len(group), size_bytes, delivery.partition, now_s=now_s)
            self._metrics.increment("records_consumed", len(group), topic=partition[0])
            self._start(group, delivery, slots)

    def _start(
        self,
        records: Sequence[SourceRecord],
        delivery: PartitionDelivery,
        slots: Sequence[Slot[Outcomes]],
    ) -> None:
        """Decode records, and submit their texts to the deployments that the plan names."""
        is_shared = self.plans.is_shared
        running = self.plans.present
        jobs: list[Job] = []  # of one plan, which asks the same about each
        asks: Sequence[Ask] = ()
        for record, slot in zip(records, slots, strict=True):
            try:
                text = self._decoder.decode(record)
            except DecodeError as error:
                delivery.finished(slot, (self._undecoded(record, error),))
                continue
            chosen = self.plans.of(text) if is_shared else running
            languages = chosen.plan.languages
            if languages is not None:
                text = languages.told(text)
                self._metrics.increment("languages", language=text.language or "")
            job = Job(text, delivery, slot)
            chosen.jobs.add(job)
            wanted = chosen.plan.start(text)
            if not wanted:
                self._opened([job])
                self._conclude(chosen, job, ())
                continue
            if chosen is not running or (wanted is not asks and wanted != asks):
                self._opened(jobs)
                self._ask(running, jobs, asks)
                running, jobs, asks = chosen, [], wanted
            jobs.append(job)
        self._opened(jobs)
        self._ask(running, jobs, asks)

    def _opened(self, jobs: Sequence[Job]) -> None:
        """Let the watch see jobs before anything happens to them."""
        if self._watch is not None:
            self._watch.opened(jobs)

    def _undecoded(self, record: SourceRecord, error: DecodeError) -> Outcome:
        if error.reason in self._skipped:
            return self._outcome_builder.skipped(record, error.reason)
        return self._outcome_builder.dead(record, error)

    def _ask(self, running: RunningPlan, jobs: Sequence[Job], asks: Sequence[Ask]) -> None:
        for ask in asks:
            waits = running.waits and running.waits.get(ask.deployment)
            taken = list(filter(waits.takes, jobs)) if waits else jobs
            running.runners[ask.deployment].submit(taken)

    def _take_results(self, running: RunningPlan, results: Sequence[tuple[Job, Result]]) -> None:
        """Continue jobs with the results of one deployment, a batch at a time."""
        if self._watch is not None:
            self._watch.batch(results, now_ns=self._clock.epoch_ms() * 1_000_000)
        plan, deployment = running.plan, results[0][1].deployment.id
        waits = running.waits and running.waits.get(deployment)
        for job, result in results:
            if waits:
                waits.answered(job)
            if job.is_concluded or deployment in job.results or job.delivery.closed:
                continue  # late: its partition was revoked, or its deadline has passed
            job.results[deployment] = result
            step = plan.next(job, result)
            if isinstance(step, Done):
                self._conclude(running, job, step.results)
            else:
                self._ask(running, [job], step)
        running.note_if_idle()
        watch = running.drift.get(deployment)
        if watch is not None:
            watch.saw(
                (result.decision, len(job.record.text))
                for job, result in results
                if isinstance(result, Classified)
            )

    def _conclude(self, running: RunningPlan, job: Job, results: Sequence[Result]) -> None:
        """Create the outcomes of a record; its partition delivers them in input order."""
        job.is_concluded = True
        running.jobs.discard(job)
        outcomes: Outcomes
        if len(results) == 1:
            outcomes = (self._outcome(job, results[0]),)
        elif results:
            outcomes = tuple([self._outcome(job, result) for result in results])
        else:
            outcomes = (self._outcome_builder.skipped(job.record.source, "no_task"),)
        if self.plans.canary is not None:
            took_s = self._clock.now_s() - job.record.source.received_at_s
            self.plans.canary.saw(running, outcomes, took_s)
        job.delivery.finished(job.slot, outcomes)

    def _outcome(self, job: Job, result: Result) -> Outcome:
        deployment = result.deployment
        if isinstance(result, Classified):
            return self._outcome_builder.result(
                job.record,
                result.prediction,
                result.decision,
                result.timings,
                encoder=deployment.encoder,
                topics=deployment.topics,
                task=deployment.task,
            )
        if isinstance(result, Escalated):
            outbound = escalation(job.record, result, now_ms=self._clock.epoch_ms())
            return self._outcome_builder.escalated(
                job.record, outbound, stage=deployment.stage, task=deployment.task
            )
        return self._outcome_builder.dead(job.record.source, result.error, deployment.task)

    async def _while_all_devices_are_busy(self) -> None:
        """Delay the next poll, at most until a device can take more work.

        With several models: until that of the slowest can, because the others wait for it.
        """
        if self.plans.present.is_busy:
            self._wants_work.clear()
            longest_s = _AHEAD_POLL_S if self.plans.present.is_ahead else _BUSY_POLL_S
            await wait_all([self._wants_work], longest_s, self._clock)

    # Assigned and revoked partitions.

    def _open_delivery(self, partition: TopicPartition) -> PartitionDelivery:
        settings = self._settings.delivery
        deliverer = Deliverer(
            partition,
            sink=self._sink,
            outcome_builder=self._outcome_builder,
            settings=settings,
            clock=self._clock,
            metrics=self._metrics,
            guard=self._guard,
            owns=self._source.still_owns,
            pace=self._paces[partition],
        )
        return PartitionDelivery(
            partition,
            commits_offsets=self._sink.commits_offsets,
            deliverer=deliverer,
            guard=self._guard,
            settings=settings,
            clock=self._clock,
            metrics=self._metrics,
            on_writing=partial(self.in_flight.write, partition=partition),
            on_delivered=partial(self._on_delivered, partition),
        )

    def _on_dropped(self, delivery: PartitionDelivery, items: int, size_bytes: int) -> None:
        for running in self.plans.running:
            running.forget_unwanted()  # the delivery is closed, so its jobs are no longer needed
        now_s = self._clock.now_s()
        self.in_flight.remove(items, size_bytes, delivery.partition, now_s=now_s)

    def _on_delivered(self, partition: TopicPartition, release: Release[Outcomes]) -> None:
        self._made_progress()
        items, size_bytes = len(release.results), release.size_bytes
        self.in_flight.remove(items, size_bytes, partition, now_s=self.last_progress_s)
        count_outcomes(release.results, self._clock.epoch_ms(), self._metrics)

    def _made_progress(self) -> None:
        self.last_progress_s = self._clock.now_s()
