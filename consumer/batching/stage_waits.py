"""The records that wait for a later stage of a cascade: how many, and how long."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Never

from streamlabel.consumer.core.ports import Clock
from streamlabel.consumer.plans.deployment import Deployment
from streamlabel.consumer.plans.escalation import due_ms_of
from streamlabel.consumer.plans.job import Job, NotClassified, Result
from streamlabel.errors import RecordError

__all__ = ["StageWaits"]


class StageWaits:
    """Limits the wait for one deployment; a job over a limit gets a result that says so.

    Args:
        deployment: with a limit.
        on_results: as of a ``ModelRunner``.
        clock: for the deadlines.
    """

    def __init__(
        self,
        deployment: Deployment,
        *,
        on_results: Callable[[Sequence[tuple[Job, Result]]], None],
        clock: Clock,
    ) -> None:
        self._deployment = deployment
        self._on_results = on_results
        self._clock = clock
        self._due_s: OrderedDict[Job, float] = OrderedDict()  # by time, because all wait equally
        self._has_jobs = asyncio.Event()

    def takes(self, job: Job) -> bool:
        """Note that a job begins to wait; return False, with its result told, if it may not."""
        limit = self._deployment.max_waiting_items
        if limit is not None and len(self._due_s) >= limit:
            self._refuse(job, "stage_full", f"{limit} records wait for the stage already")
            return False
        deadline_s = self._deployment.deadline_s
        left_s = deadline_s or 0.0
        due_ms = due_ms_of(job.record)
        if deadline_s is not None and due_ms is not None:  # it waited in a topic, too
            left_s = (due_ms - self._clock.epoch_ms()) / 1000
            if left_s <= 0:
                self._refuse(job, "deadline", f"no result within {deadline_s:g} s")
                return False
        self._due_s[job] = self._clock.now_s() + left_s
        if deadline_s is not None:
            self._has_jobs.set()
        return True

    def answered(self, job: Job) -> None:
        """Note that a job waits no longer."""
        self._due_s.pop(job, None)

    def forget_unwanted(self) -> None:
        """Drop the jobs of revoked partitions."""
        wanted = ((job, due_s) for job, due_s in self._due_s.items() if job.is_wanted())
        self._due_s = OrderedDict(wanted)

    async def run(self) -> Never:
        """Give up jobs at their deadlines, until cancelled."""
        while True:
            if not self._due_s or self._deployment.deadline_s is None:
                self._has_jobs.clear()
                await self._has_jobs.wait()
                continue
            job, due_s = next(iter(self._due_s.items()))
            if due_ms_of(job.record) is not None:  # those of another partition may be due before
                job, due_s = min(self._due_s.items(), key=itemgetter(1))
            left_s = due_s - self._clock.now_s()
            if left_s > 0:
                await self._clock.sleep(left_s)
                continue
            self.answered(job)
            self._refuse(job, "deadline", f"no result within {self._deployment.deadline_s:g} s")

    def _refuse(self, job: Job, reason: str, why: str) -> None:
        error = RecordError(reason, f"{self._deployment.stage}: {why}")
        self._on_results([(job, NotClassified(self._deployment, error))])
