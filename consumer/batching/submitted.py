"""Jobs that a runner has taken and not prepared yet, in the order in which they came."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from streamlabel.consumer.plans.job import Job

__all__ = ["SubmittedJobs"]

# Texts prepared in one call, in items and characters: a call should take milliseconds.
_ITEMS: Final = 512
_CHARACTERS: Final = 1_000_000
_FIRST_ITEMS: Final = 32  # in the first call after a pause, while the device is idle


class SubmittedJobs:
    """A queue with one reader."""

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self._has_some = asyncio.Event()
        # Setting an event costs more than appending a job.
        self._is_waiting = False

    def add(self, jobs: Sequence[Job]) -> None:
        """Append jobs."""
        self._jobs.extend(jobs)
        if self._is_waiting:
            self._is_waiting = False
            self._has_some.set()

    def forget_unwanted(self) -> None:
        """Drop the jobs of revoked partitions."""
        self._jobs = deque(job for job in self._jobs if job.is_wanted())

    async def take(self) -> list[Job]:
        """Wait for jobs; return those to prepare in one call, one at least."""
        if jobs := self._taken(_ITEMS):
            return jobs
        while True:
            self._has_some.clear()
            self._is_waiting = True
            await self._has_some.wait()
            if jobs := self._taken(_FIRST_ITEMS):
                return jobs

    def _taken(self, max_items: int) -> list[Job]:
        jobs: list[Job] = []
        characters = 0
        while self._jobs and len(jobs) < max_items and characters < _CHARACTERS:
            job = self._jobs.popleft()
            if not job.delivery.closed:
                jobs.append(job)
                characters += len(job.record.text)
        return jobs
