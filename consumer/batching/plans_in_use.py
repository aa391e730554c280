"""Which plan gets a record: the present one or a canary's; and the way from one to the next."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from streamlabel.consumer.batching.canary import Canary
from streamlabel.consumer.batching.running_plan import RunningPlan
from streamlabel.consumer.core.records import TextRecord

if TYPE_CHECKING:
    from streamlabel.consumer.batching.shadow import Shadow

__all__ = ["PlansInUse"]


class PlansInUse:
    """The present plan, that of a canary, and plans before it that still have jobs.

    Args:
        present: the first plan.

    Attributes:
        present: gets the records, but for the share of the canary.
        canary: another plan on trial; None: there is none.
        shadow: another model that gets the texts, too; None: there is none.
    """

    def __init__(self, present: RunningPlan) -> None:
        self.present = present
        self.canary: Canary | None = None
        self.shadow: Shadow | None = None
        self._tasks: dict[RunningPlan, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None

    @property
    def running(self) -> Sequence[RunningPlan]:
        """The plans that run, as of now: others may begin and end meanwhile."""
        return tuple(self._tasks)

    @property
    def is_shared(self) -> bool:
        """Whether not every text goes to the present plan alone."""
        return self.canary is not None or self.shadow is not None

    def of(self, text: TextRecord) -> RunningPlan:
        """Offer a text to the shadow; return the plan that gets it."""
        if self.shadow is not None:
            self.shadow.offer(text)
        if self.canary is not None and self.canary.takes(text):
            return self.canary.running
        return self.present

    def start(self, group: asyncio.TaskGroup) -> None:
        """Run the present plan, and from now on every other one, in this group."""
        self._group = group
        self._run(self.present)

    def begin_canary(self, canary: Canary) -> None:
        """Give a share of the records to another plan."""
        self._run(canary.running)
        self.canary = canary

    async def end_canary(self) -> None:
        """Give no more records to the canary's plan; return when it has none left."""
        canary, self.canary = self.canary, None
        if canary is not None:
            await self._retire(canary.running)

    async def swap(self, running: RunningPlan) -> None:
        """Give all records from now on to another plan; return when the present one has none left.

        Records that were read before are finished by the plan that began them. Outputs stay in
        input order, and no batch has records of both.
        """
        previous = self.present
        self.canary = None
        self.replace(running)
        await self._retire(previous)

    async def finish(self) -> None:
        """Return when the present plan has no job left and has ended; ``replace`` it then."""
        await self._retire(self.present)

    def replace(self, running: RunningPlan) -> None:
        """Give all records from now on to another plan."""
        self.present = running
        self._run(running)

    def drain(self) -> None:
        """Have what waits for a full batch computed at once."""
        for running in self.running or (self.present,):
            running.drain()

    def stop(self) -> None:
        """End the plans; they have no jobs left."""
        for task in self._tasks.values():
            task.cancel()

    def _run(self, running: RunningPlan) -> None:
        if self._group is not None and running not in self._tasks:
            self._tasks[running] = self._group.create_task(running.run())

    async def _retire(self, running: RunningPlan) -> None:
        running.drain()
        await running.idle()
        task = self._tasks.pop(running, None)
        if task is not None:
            task.cancel()
