"""Classifies a batch in spite of failures, and isolates the texts that cause them.

- The model raises: the batch is tried once more, then in halves until the faulty text is alone.
- The device is out of memory: the batch is halved at once, and the token budget is lowered once.
- The worker dies or hangs: the batch is tried again with nothing else on the device, then in
  about sqrt(n) parts, so that the text that kills it is found with few restarts.

``failure_search`` decides what is tried next. Between two steps of a search other batches are
classified, so a faulty text delays them by one step, not by the whole search. During a search they
also run one at a time, so that the batch that causes the next loss of the worker is known.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar, cast

import structlog

from streamlabel.consumer.batching.blame import FixedText, ask_fixed_text
from streamlabel.consumer.batching.device_gate import DeviceGate
from streamlabel.consumer.batching.failure_search import (
    Failure,
    Part,
    Suspect,
    next_parts,
    still_wanted,
)
from streamlabel.consumer.batching.token_budget import TokenBudget
from streamlabel.consumer.core.ports import Metrics
from streamlabel.errors import (
    DeviceMemoryError,
    InferenceError,
    ModelError,
    RecordError,
    WorkerError,
    WorkerGaveUpError,
)
from streamlabel.models.core.classifier import Classifier, Supervised

__all__ = ["Failed", "FailureIsolation"]

T = TypeVar("T")
R = TypeVar("R")
Call = Callable[[Sequence[T]], Awaitable[list[R | InferenceError]]]
IsWanted = Callable[[], bool]

_log = structlog.get_logger(__name__)


@dataclass(eq=False, slots=True)
class Failed:
    """A batch whose first attempt failed, for ``FailureIsolation.isolate``."""

    call: Call[Any, Any]
    part: Part
    failure: Failure
    budget: TokenBudget | None
    losses: list[int] = field(default_factory=list)
    too_large: list[Part] = field(default_factory=list)
    fitted: list[Part] = field(default_factory=list)


class FailureIsolation:
    """Runs calls of a Classifier and recovers from their failures.

    Args:
        metrics: counts retries by cause.
        control: classifies a fixed text; if that fails, the batch is not at fault. None: a failing
            batch always is.
        supervised: the worker process; told which of its losses were caused by faulty texts, which
            do not count as restarts. None: there is none.
        on_step: called after each step of a search, whatever its result.
    """

    def __init__(
        self,
        *,
        metrics: Metrics,
        control: Callable[[], Awaitable[None]] | None = None,
        supervised: Supervised | None = None,
        on_step: Callable[[], None] = lambda: None,
    ) -> None:
        self._metrics = metrics
        self._fixed_text = FixedText(control, supervised=supervised, on_step=on_step)
        self._supervised = supervised
        self._on_step = on_step
        self._gate = DeviceGate()
        self._searches = 0  # for texts that crash or hang the worker

    @classmethod
    def of(
        cls, classifier: Classifier, *, metrics: Metrics, on_step: Callable[[], None]
    ) -> "FailureIsolation":
        """Return one for the calls of a classifier, which may be a worker process."""
        return cls(
            metrics=metrics,
            control=partial(ask_fixed_text, classifier),
            supervised=classifier if isinstance(classifier, Supervised) else None,
            on_step=on_step,
        )

    async def run(self, call: Call[T, R], items: Sequence[T]) -> list[R | RecordError]:
        """Return one result or RecordError per item, in order.

        Raises:
            WorkerGaveUpError: the worker cannot be kept alive; nothing was decided.
        """
        if not items:  # all of them were repeats
            await asyncio.sleep(0)
            return []
        results = await self.attempt(call, items)
        return await self.isolate(results) if isinstance(results, Failed) else results

    async def attempt(
        self,
        call: Call[T, R],
        items: Sequence[T],
        *,
        budget: TokenBudget | None = None,
        wanted: Callable[[], Sequence[IsWanted]] | None = None,
    ) -> list[R | RecordError] | Failed:
        """Try once; return the results, or the failure to pass to ``isolate``.

        Args:
            call: the call of the model.
            items: its arguments.
            budget: is told which sizes fit.
            wanted: called after a failure; for each item, whether it is still wanted. None: all.
        """
        alone = self._searches > 0
        async with self._gate.alone() if alone else self._gate.shared():
            results = await self._try(call, items, alone=alone)
            if isinstance(results, Failure):  # only now anything is kept for each text
                wants = wanted() if wanted is not None else [lambda: True] * len(items)
                pairs = zip(items, wants, strict=True)
                part = Part([Suspect(item, want, attempts=1) for item, want in pairs], alone)
                return Failed(call, part, await self._judged(part, results), budget)
        if budget is not None and items:
            budget.fitted(items)
        if len(results) != len(items):
            raise ValueError(f"{len(results)} results for {len(items)} texts. This is a bug.")
        if any(issubclass(each, InferenceError) for each in set(map(type, results))):
            return [_as_record_error(result) for result in results]
        return cast("list[R | RecordError]", results)

    async def isolate(self, failed: Failed) -> list[Any]:
        """Retry the parts of a failed batch until each of its texts has a result.

        Raises:
            WorkerGaveUpError: as ``run``.
        """
        is_search = isinstance(failed.failure.error, WorkerError)
        self._searches += is_search
        self._on_step()
        try:
            waiting = deque(self._judge(failed, failed.part, failed.failure))
            while waiting:
                part = still_wanted(waiting.popleft())
                failure = await self._ask(failed, part) if part.texts else None
                self._on_step()
                if failure is None:
                    failed.fitted.append(part)
                    continue
                if isinstance(failure.error, WorkerError) and not is_search:
                    is_search = True
                    self._searches += 1
                waiting.extendleft(reversed(self._judge(failed, part, failure)))
        finally:
            self._searches -= is_search
        self._conclude(failed)
        return [text.result for text in failed.part.texts]

    def _judge(self, failed: Failed, part: Part, failure: Failure) -> list[Part]:
        if failure.kind == "memory":
            failed.too_large.append(part)
        if isinstance(failure.error, WorkerError) and not part.alone:
            failed.losses.append(failure.error.loss)
        following = next_parts(part, failure)
        causes = {"died": "worker", "hung": "worker", "stopped": "worker", "memory": "memory"}
        cause = causes.get(failure.kind) or ("split" if len(following) > 1 else "error")
        if following:
            self._retrying(cause, len(part.texts), failure.error)
        return following

    def _retrying(self, cause: str, items: int, error: ModelError) -> None:
        self._metrics.increment("inference_retries", cause=cause)
        what = f"{type(error).__name__}: {error}"
        _log.warning("inference_retry", cause=cause, items=items, error=what)

    def _conclude(self, failed: Failed) -> None:
        texts = failed.part.texts
        is_found = any(text.deaths or text.hangs for text in texts)
        if self._supervised is not None and is_found:
            for loss in failed.losses:  # these texts also caused the loss before the search
                self._supervised.forgive(loss)
        if failed.budget is not None:
            size_matters = [p for p in failed.too_large if not any(t.did_not_fit for t in p.texts)]
            failed.budget.settled(
                failed=[part.items for part in size_matters],
                fitted=[part.items for part in failed.fitted if part.texts],
            )

    async def _ask(self, failed: Failed, part: Part) -> Failure | None:
        """Classify a part; return None if its texts have results now."""
        async with self._gate.alone() if part.alone else self._gate.shared():
            for text in part.texts:
                text.attempts += 1
            results = await self._try(failed.call, part.items, alone=part.alone)
            if isinstance(results, Failure):
                return await self._judged(part, results)
        for text, result in zip(part.texts, results, strict=True):
            text.result = result
            if isinstance(result, InferenceError):
                text.blame("inference_error", str(result))
        return None

    async def _try(
        self, call: Call[T, R], items: Sequence[T], *, alone: bool
    ) -> list[R | InferenceError] | Failure:
        """Call the model, which nothing else does if it is to be alone on the device."""
        await self._fixed_text.until_up()
        searched = self._supervised if alone else None  # a loss is that of these texts
        try:
            with searched.search() if searched is not None else nullcontext():
                return await call(items)
        except WorkerGaveUpError:
            raise
        except (WorkerError, DeviceMemoryError, InferenceError) as error:
            return Failure(error)

    async def _judged(self, part: Part, failure: Failure) -> Failure:
        """Find out with the fixed text whether the part is at fault; still alone on the device."""
        is_loss = failure.kind in ("died", "hung")
        if not part.alone or not (is_loss or (len(part.texts) == 1 and failure.kind != "stopped")):
            return failure
        self._on_step()
        is_theirs = await self._fixed_text.is_answered(after_loss=is_loss)
        return Failure(failure.error, is_theirs)


def _as_record_error(result: R | InferenceError) -> R | RecordError:
    if not isinstance(result, InferenceError):
        return result
    return RecordError("inference_error", str(result))
