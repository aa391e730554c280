"""The plan of a stream with several tasks: which of them apply to a record, and in which order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from streamlabel.consumer.core.records import TextRecord
from streamlabel.consumer.plans.condition import Condition
from streamlabel.consumer.plans.job import Classified, Job, Result
from streamlabel.consumer.plans.languages import Languages
from streamlabel.consumer.plans.plan import Ask, Done, TaskPlan

__all__ = ["SeveralTasks", "TaskOfPlan"]


@dataclass(frozen=True, slots=True)
class TaskOfPlan:
    """A task of the plan.

    Attributes:
        plan: of its deployments.
        condition: on the record itself; None: it always holds.
        needs: other task -> its labels, one of which it must have given.
    """

    plan: TaskPlan
    condition: Condition | None = None
    needs: Mapping[str, frozenset[str]] = field(default_factory=dict)


class SeveralTasks:
    """Asks every task that applies to a record; complete when all have a result.

    A task that needs labels of others waits for their results. If one of them does not apply, fails
    or gives another label, the task does not apply either.

    Implements ``Plan``.

    Args:
        tasks: by name; those that a task needs precede it.
        task_of: deployment id -> name of its task.
        languages: tells the languages of texts, for conditions; None: no condition needs them.
    """

    def __init__(
        self,
        tasks: Mapping[str, TaskOfPlan],
        task_of: Mapping[str, str],
        languages: Languages | None = None,
    ) -> None:
        self.languages = languages
        self._tasks = tasks
        self._task_of = task_of

    def start(self, record: TextRecord) -> Sequence[Ask]:
        """Ask every task that applies and needs no other one."""
        return [
            ask
            for task in self._tasks.values()
            if not task.needs and _applies(task, record)
            for ask in task.plan.start(record)
        ]

    def next(self, job: Job, result: Result) -> Sequence[Ask] | Done:
        """Ask what the task of ``result`` asks next, or the tasks that waited for its label."""
        finished = self._task_of[result.deployment.id]
        step = self._tasks[finished].plan.next(job, result)
        if not isinstance(step, Done):
            return step
        ready, waits = self._ready(job)
        # A task that needs this result could not be asked before.
        asks = [
            ask
            for name in ready
            if finished in self._tasks[name].needs
            for ask in self._tasks[name].plan.start(job.record)
        ]
        if asks:
            return asks
        results = tuple(known for known in ready.values() if known is not None)
        return () if waits or len(results) < len(ready) else Done(results)

    def _ready(self, job: Job) -> tuple[dict[str, Result | None], bool]:
        """Return the tasks that apply with their results, and whether others wait for those.

        A result is None while the task is open.
        """
        ready: dict[str, Result | None] = {}
        waiting: set[str] = set()
        for name, task in self._tasks.items():
            if not _applies(task, job.record):
                continue
            unknown = [n for n in task.needs if n in waiting or (n in ready and ready[n] is None)]
            if not all(n in unknown or _gives(ready.get(n), task.needs[n]) for n in task.needs):
                continue
            if unknown:
                waiting.add(name)
            else:
                ready[name] = task.plan.result(job)
        return ready, bool(waiting)


def _applies(task: TaskOfPlan, record: TextRecord) -> bool:
    return task.condition is None or task.condition.holds(record)


def _gives(result: Result | None, labels: frozenset[str]) -> bool:
    """Return whether a task gave one of ``labels``."""
    return isinstance(result, Classified) and not labels.isdisjoint(result.decision.labels)
