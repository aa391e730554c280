"""A plan decides which deployments are asked about a record, and in which order. Pure.

A plan never waits and never computes. Given a result, it returns what to ask next, or which result
becomes the outcome. ``Single`` asks one deployment once. A cascade asks its first stage in
``start``, and in ``next`` the following stage if a decision has a reason for review.
"""

from collections.abc import Sequence
from typing import Protocol

from streamlabel.consumer.core.records import TextRecord
from streamlabel.consumer.plans.job import Job, Result
from streamlabel.models.core.values import value

__all__ = ["Ask", "Done", "Plan"]


@value
class Ask:
    """A request to the deployment with this id to classify the record."""

    deployment: str


@value
class Done:
    """The record needs no further requests.

    Attributes:
        result: the result that becomes the record's outcome.
    """

    result: Result


class Plan(Protocol):
    """Decides which deployments classify a record."""

    def start(self, record: TextRecord) -> Sequence[Ask]:
        """Return the first requests; at least one."""
        ...

    def next(self, job: Job, result: Result) -> Sequence[Ask] | Done:
        """Return further requests, or the final result.

        Args:
            job: the record with all its results, including ``result``. Read-only.
            result: the result that has just arrived.

        Returns:
            An empty sequence while earlier requests are open. A request is made once per record.
        """
        ...
