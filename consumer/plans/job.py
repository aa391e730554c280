"""The unit of work between pipeline and models: a record, its place, and its results."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from streamlabel.consumer.core.records import TextRecord
from streamlabel.consumer.delivery.offset_tracker import Slot
from streamlabel.consumer.output.outcome import Outcomes
from streamlabel.consumer.output.timings import Timings
from streamlabel.consumer.plans.deployment import Deployment
from streamlabel.consumer.routing.decision import Decision
from streamlabel.errors import RecordError
from streamlabel.models.core.classifier import Prediction, PreparedText
from streamlabel.models.core.values import value

if TYPE_CHECKING:
    from asyncio import Future

__all__ = [
    "Classified",
    "Delivery",
    "Escalated",
    "Job",
    "JobWatch",
    "KeptAnswer",
    "NotClassified",
    "Reading",
    "Result",
]


@value
class Classified:
    """The result of a deployment for a record."""

    deployment: Deployment
    prediction: Prediction
    decision: Decision
    timings: Timings


@value
class NotClassified:
    """Why a deployment has no result for a record."""

    deployment: Deployment
    error: RecordError


@value
class Escalated(NotClassified):
    """The stages of this service are not sure: another service has the result.

    Attributes:
        topic: that it reads.
        answers: of all stages that were asked, in order.
        deadline_s: maximum wait for the result of its first stage; None: no limit.
    """

    topic: str
    answers: "tuple[Classified | NotClassified, ...]"
    deadline_s: float | None


Result = Classified | NotClassified


class Delivery(Protocol):
    """What a job needs of the delivery of its partition."""

    @property
    def closed(self) -> bool:
        """Whether the outcome is no longer needed."""
        ...

    def finished(self, slot: Slot[Outcomes], outcomes: Outcomes) -> None:
        """Take the outcomes of the record of ``slot``."""
        ...


@value
class KeptAnswer:
    """What several models that are computed together say, for those that are asked later.

    Attributes:
        answer: of all of them.
        inference_s: duration of the batch.
        cached: it was not computed for this record.
    """

    answer: Prediction | RecordError
    inference_s: float
    cached: bool


@dataclass(slots=True, eq=False)
class Job:
    """A text that is being classified.

    Attributes:
        record: the text, and the record it was read from.
        delivery: of its partition; determines whether the outcome is still needed.
        slot: its place in the order of the partition.
        results: the results so far, by the id of the deployment.
        is_concluded: whether its outcome is complete; later results are dropped.
        kept: answers of models that are computed together, by their runner; None: there are none.
        prepared: the text as models get it, by how they read; only where several read alike.
    """

    record: TextRecord
    delivery: Delivery
    slot: Slot[Outcomes]
    results: dict[str, Result] = field(default_factory=dict)
    is_concluded: bool = False
    kept: dict[object, KeptAnswer] | None = None
    prepared: "dict[str, Future[PreparedText | RecordError]] | None" = None

    def is_wanted(self) -> bool:
        """Return whether results are still needed.

        Not if its partition was revoked, because its new owner reads the record, or if its outcome
        is complete without them.
        """
        return not (self.delivery.closed or self.is_concluded)


class JobWatch(Protocol):
    """Follows records from reading to their outcomes, as traces do."""

    def opened(self, jobs: Sequence[Job]) -> None:
        """Look at the jobs of records that were read together, before a model is asked.

        Another delivery in a job sees its outcomes.
        """
        ...

    def batch(self, results: Sequence[tuple[Job, Result]], *, now_ns: int) -> None:
        """Look at the results of a batch, before they become outcomes. Time in epoch ns."""
        ...


class Reading(list[Job]):
    """The jobs that wait for what a model says about a text: several if their texts are equal.

    A list, because one is made for every record.

    Attributes:
        text: as the model reads it.
    """

    __slots__ = ("text",)
    text: str

    def is_wanted(self) -> bool:
        """Return whether one of its jobs still needs the result; once False, always."""
        return any(job.is_wanted() for job in self)
