"""A plan decides which deployments are asked about a record, and in which order. Pure.

A plan never waits and never computes. Given a result, it returns what to ask next, or which results
become the outcome. ``Single`` asks one deployment once, ``Cascade`` asks the next stage if a stage
is not sure, and ``SeveralTasks`` has a ``Single`` or ``Cascade`` for each task.
"""

from collections.abc import Sequence
from typing import Protocol

from streamlabel.consumer.core.records import TextRecord
from streamlabel.consumer.plans.job import Job, Result
from streamlabel.consumer.plans.languages import Languages
from streamlabel.models.core.values import value

__all__ = ["Ask", "Done", "Plan", "Single", "TaskPlan"]


@value
class Ask:
    """A request to the deployment with this id to classify the record."""

    deployment: str


@value
class Done:
    """The record needs no further requests.

    Attributes:
        results: the result of each task that applied to the record, which become its outcome; none
            if no task did.
    """

    results: tuple[Result, ...]


class Plan(Protocol):
    """Decides which deployments classify a record.

    Attributes:
        languages: fills in the language of each record before ``start``; None: that is not needed.
    """

    @property
    def languages(self) -> Languages | None: ...  # noqa: D102 above

    def start(self, record: TextRecord) -> Sequence[Ask]:
        """Return the first requests; none if the record is not to be classified but skipped."""
        ...

    def next(self, job: Job, result: Result) -> Sequence[Ask] | Done:
        """Return further requests, or the final results.

        Args:
            job: the record with all its results, including ``result``. Read-only.
            result: the result that has just arrived.

        Returns:
            An empty sequence while earlier requests are open. A request is made once per record.
        """
        ...


class TaskPlan(Plan, Protocol):
    """A plan with exactly one result for a record: that of a task."""

    def result(self, job: Job) -> Result | None:
        """Return the result of the task, from those of its deployments; None: it is open."""
        ...


class Single:
    """Asks one deployment, once; its result is the outcome. Implements ``TaskPlan``."""

    languages = None

    def __init__(self, deployment: str) -> None:
        self._deployment = deployment
        self._asks = (Ask(deployment),)

    def start(self, record: TextRecord) -> tuple[Ask, ...]:
        """Ask the deployment."""
        del record
        return self._asks

    def next(self, job: Job, result: Result) -> Done:
        """Use its result, whatever it is."""
        del job
        return Done((result,))

    def result(self, job: Job) -> Result | None:
        """Return its result."""
        return job.results.get(self._deployment)
