"""Runs one deployment's model: prepares texts, forms batches, classifies them.

    submit -> prepare -> micro-batch -> classify -> decide -> on_results

One task prepares and ``max_in_flight`` tasks classify, until cancelled. The faulty
texts of a batch that fails are isolated concurrently with other batches, which do not wait for it.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from streamlabel.config.settings import Settings
from streamlabel.consumer.batching.batch_counting import count_batch
from streamlabel.consumer.batching.deciding import Answered, decide
from streamlabel.consumer.batching.failure_isolation import Failed, FailureIsolation
from streamlabel.consumer.batching.micro_batcher import Batch, MicroBatcher
from streamlabel.consumer.batching.preparing import Preparing
from streamlabel.consumer.batching.repeats import Repeats
from streamlabel.consumer.batching.submitted import SubmittedJobs
from streamlabel.consumer.batching.token_budget import TokenBudget
from streamlabel.consumer.core.ports import Clock, Metrics
from streamlabel.consumer.core.waiting import wait_all
from streamlabel.consumer.decode.normalising import normaliser
from streamlabel.consumer.plans.deployment import Deployment
from streamlabel.consumer.plans.job import Job, Reading, Result
from streamlabel.errors import RecordError
from streamlabel.models.core.classifier import Prediction, PreparedText

__all__ = ["ModelRunner"]

_MAX_SEARCHES = 4  # batches whose faulty texts are isolated at the same time

_log = structlog.get_logger(__name__)

_Prepared = tuple[Reading, PreparedText]


class ModelRunner:
    """Takes jobs, and reports the result of its deployment for each of them.

    Args:
        deployment: provides the model and the routing policy; see ``use``.
        settings: of batches and repeats, and how the text that the model reads is made.
        on_results: called with jobs and the results of one deployment, a batch at a time, in any
            order.
        on_step: called after each step of failure isolation, which counts as progress.
        wants_work: set when the device can take more texts.
        shares_tokens: whether another model of the service reads texts in the same way.

    Attributes:
        submit: takes jobs. Their results come through ``on_results``, unless their partition is
            revoked.
    """

    def __init__(
        self,
        deployment: Deployment,
        *,
        settings: Settings,
        on_results: Callable[[Sequence[tuple[Job, Result]]], None],
        on_step: Callable[[], None],
        wants_work: asyncio.Event,
        clock: Clock,
        metrics: Metrics,
        shares_tokens: bool = False,
    ) -> None:
        self.deployment = deployment
        self._classifier = classifier = deployment.classifier
        self._hints = classifier.hints
        self._normalise = normaliser(settings.input.normalise)
        self._repeats = Repeats(settings.repeats, metrics)
        self._on_results = on_results
        self._wants_work = wants_work
        self._clock = clock
        self._metrics = metrics
        self._batcher: MicroBatcher[_Prepared] = MicroBatcher(
            max_tokens=settings.batching.max_batch_tokens or self._hints.batch_tokens,
            max_items=settings.batching.max_batch_items,
            linger_s=settings.batching.linger_s,
            pads=self._hints.pads,
        )
        self._budget = TokenBudget(
            self._batcher.max_tokens, size=self._batcher.size, on_change=self._budget_changed
        )
        self._isolation = FailureIsolation.of(classifier, metrics=metrics, on_step=on_step)
        self._preparing = Preparing(classifier, self._isolation, shared=shares_tokens)
        self._submitted = SubmittedJobs()
        self.submit = self._submitted.add
        self._has_prepared = asyncio.Event()
        self._running = 0  # batches in the model
        self._is_draining = False
        self._group = asyncio.TaskGroup()
        self._search_slots = asyncio.Semaphore(_MAX_SEARCHES)
        metrics.set("token_budget", self._batcher.max_tokens)
        metrics.set("token_budget_limit", self._batcher.max_tokens)

    @property
    def is_busy(self) -> bool:
        """Whether the device computes as much as it can; further batches would only queue."""
        return self._running >= self._hints.max_in_flight - self._hints.queued

    @property
    def is_ahead(self) -> bool:
        """Whether so many texts wait that more would not improve the next batches."""
        return self._batcher.is_ahead

    def use(self, deployment: Deployment) -> None:
        """Use another policy from the next result on; the model stays the same."""
        if deployment.classifier is not self._classifier:
            raise ValueError("another model needs a runner of its own. This is a bug.")
        self.deployment = deployment

    def forget_unwanted(self) -> None:
        """Drop the jobs of revoked partitions."""
        self._submitted.forget_unwanted()
        self._batcher.discard(lambda prepared: not prepared[0].is_wanted())
        self._repeats.forget_unwanted()

    def drain(self) -> None:
        """Stop waiting for texts that would fill a batch."""
        self._is_draining = True
        self._has_prepared.set()

    async def run(self) -> None:
        """Run until cancelled.

        Raises:
            WorkerGaveUpError: the worker cannot be kept alive; in an exception group.
        """
        async with self._group as group:
            group.create_task(self._prepare())
            for _ in range(self._hints.max_in_flight):
                group.create_task(self._classify())

    # The steps of a job, in order.

    async def _prepare(self) -> None:
        while True:
            jobs = await self._submitted.take()
            texts = [self._normalise(job.record.text) for job in jobs]
            readings, known = self._repeats.sort(jobs, texts)
            if known:
                self._give(known, self._clock.now_s(), cached=True)
            prepared = await self._preparing.prepare(readings)
            now_s = self._clock.now_s()
            failed: list[tuple[Reading, RecordError]] = []
            for reading, text in zip(readings, prepared, strict=True):
                if isinstance(text, RecordError):
                    failed.append((reading, text))
                elif not reading[0].delivery.closed or reading.is_wanted():
                    item = (reading, text)
                    self._batcher.add(item, tokens=text.tokens, rows=text.rows, now_s=now_s)
            if failed:
                self._repeats.ended(failed)
                self._give(failed, now_s)
            self._has_prepared.set()

    async def _classify(self) -> None:
        while True:
            began_s = self._clock.now_s()
            batch = self._next_batch(began_s)
            if batch is None:
                self._has_prepared.clear()
                deadline_s = None if self.is_busy else self._batcher.deadline_s
                linger_s = None if deadline_s is None else deadline_s - began_s
                await wait_all([self._has_prepared], linger_s, self._clock)
                continue
            if not self._batcher.is_ahead:
                self._wants_work.set()
            # What is computed at once and alone in its turn shows its cost by its time.
            is_measured = self._hints.queued > 0 and not self.is_busy
            self._running += 1
            answers = await self._isolation.attempt(
                self._classifier.classify,
                [text for _, text in batch.items],
                budget=self._budget,
                wanted=partial(_wants, batch),
            )
            self._running -= 1
            self._wants_work.set()
            if isinstance(answers, Failed):
                await self._search_slots.acquire()
                self._group.create_task(self._search(batch, answers, began_s))
            else:
                if is_measured:
                    seconds = self._clock.now_s() - began_s
                    self._batcher.cost.learn(tokens=batch.padded_tokens, seconds=seconds)
                self._conclude(batch, answers, began_s)

    def _next_batch(self, now_s: float) -> Batch[_Prepared] | None:
        """Return the next batch; while the device is busy, only a full one.

        A batch that is queued can no longer grow, and a text costs less in a large batch.
        """
        if self.is_busy and not self._batcher.is_full:
            return None
        return self._batcher.take(float("inf") if self._is_draining else now_s)

    async def _search(self, batch: Batch[_Prepared], failed: Failed, began_s: float) -> None:
        """Isolate the faulty texts of a batch."""
        try:
            answers = await self._isolation.isolate(failed)
        finally:
            self._search_slots.release()
        self._conclude(batch, answers, began_s)
        self._wants_work.set()

    def _conclude(
        self, batch: Batch[_Prepared], answers: Sequence[Prediction | RecordError], began_s: float
    ) -> None:
        inference_s = self._clock.now_s() - began_s
        answered = [(jobs, answer) for (jobs, _), answer in zip(batch.items, answers, strict=True)]
        self._repeats.ended(answered)
        results = self._give(answered, began_s, inference_s)
        queue_s = began_s - batch.oldest_since_s
        count_batch(batch, results, queue_s=queue_s, inference_s=inference_s, metrics=self._metrics)

    def _give(
        self, answered: Answered, began_s: float, inference_s: float = 0.0, *, cached: bool = False
    ) -> Sequence[tuple[Job, Result]]:
        """Decide about jobs, and tell their results."""
        results = decide(
            self.deployment,
            answered,
            began_s=began_s,
            inference_s=inference_s,
            now_ms=self._clock.epoch_ms(),
            cached=cached,
        )
        self._on_results(results)
        return results

    def _budget_changed(self, tokens: int, fell: bool) -> None:
        self._batcher.max_tokens = tokens
        self._metrics.set("token_budget", tokens)
        if fell:
            _log.warning("token_budget_lowered", max_batch_tokens=tokens)


def _wants(batch: Batch[_Prepared]) -> list[Callable[[], bool]]:
    return [reading.is_wanted for reading, _ in batch.items]
