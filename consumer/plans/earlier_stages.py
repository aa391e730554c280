"""What stages in other services said about a record, restored as results."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from streamlabel.config.cascade import StageSettings
from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.core.records import TextRecord
from streamlabel.consumer.output.formats import ValueEncoder
from streamlabel.consumer.output.message_encoder import MessageEncoder
from streamlabel.consumer.output.timings import Timings
from streamlabel.consumer.plans.deployment import Deployment
from streamlabel.consumer.plans.escalation import IDENTITY, EscalatedText
from streamlabel.consumer.plans.job import Classified, NotClassified, Result
from streamlabel.consumer.routing.decision import Decision
from streamlabel.consumer.routing.router import RoutingPolicy
from streamlabel.errors import RecordError
from streamlabel.models.core.classifier import ModelIdentity, Prediction

__all__ = ["EarlierStages", "OriginEncoder"]


@dataclass(frozen=True, slots=True)
class OriginEncoder:
    """Encodes results with the position on the input. Implements ``ValueEncoder``."""

    inner: ValueEncoder

    async def prefetch(self) -> None:
        """Fetch what the format needs."""
        await self.inner.prefetch()

    def label(
        self,
        record: TextRecord,
        prediction: Prediction,
        decision: Decision,
        timings: Timings,
        *,
        topic: str,
    ) -> Outbound:
        """Return the record for the labels topic."""
        told = self.inner.label(_original(record), prediction, decision, timings, topic=topic)
        return replace(told, position=record.source.position)

    def review(
        self,
        record: TextRecord,
        prediction: Prediction,
        decision: Decision,
        timings: Timings,
        *,
        topic: str,
        limit_bytes: int,
    ) -> Outbound:
        """Return the record for the review topic."""
        told = self.inner.review(
            _original(record), prediction, decision, timings, topic=topic, limit_bytes=limit_bytes
        )
        return replace(told, position=record.source.position)


def _original(record: TextRecord) -> TextRecord:
    if isinstance(record, EscalatedText) and record.origin is not None:
        return replace(record, source=record.origin)
    return record


class EarlierStages:
    """Restores what the stages of other services said, as results of their deployments.

    Args:
        stages: of the whole cascade.
        last: the last stage that runs here; the restored ones have its task and topics.
    """

    def __init__(self, stages: Sequence[StageSettings], last: Deployment) -> None:
        self._labels = last.policy.labels
        self._output = last.topics
        self._task = last.task
        self._stages = {each.name: each for each in stages}

    def __call__(self, record: TextRecord) -> list[Result]:
        """Return the results in their order; none for a record of another kind."""
        said = record.said if isinstance(record, EscalatedText) else ()
        return [self._restored(each) for each in said]

    def _restored(self, told: Any) -> Result:  # noqa: ANN401 JSON
        deployment = self._deployment(told)
        if "error" in told:
            return NotClassified(deployment, RecordError(str(told["error"]), ""))
        names = self._labels.names
        by_name = told["probabilities"]
        if (by_name is not None and sorted(by_name) != sorted(names)) or not set(
            told["labels"]
        ) <= set(names):
            # written before the labels were changed
            return NotClassified(deployment, RecordError("other_labels", ""))
        probabilities = None if by_name is None else tuple(by_name[name] for name in names)
        decision = Decision(
            "review",
            told["label"],
            tuple(told["labels"]),
            told["confidence"],
            told["margin"],
            told["threshold"],
            tuple(told["reasons"]),
            probabilities,
            threshold_set_id=told["threshold_set_id"],
            threshold_change=told["threshold_change"],
            # an earlier version of the service does not say it
            unsure_labels=tuple(told.get("unsure_labels", ())),
        )
        prediction = Prediction(probabilities, truncated=bool(told["truncated"]))
        return Classified(deployment, prediction, decision, Timings(0, 0.0, 0.0))

    def _deployment(self, told: Any) -> Deployment:  # noqa: ANN401 JSON
        identity = ModelIdentity(**{name: told["model"][name] for name in IDENTITY})
        stage = self._stages.get(told["stage"])
        routing = next(iter(self._stages.values())).routing if stage is None else stage.routing
        kept = self._output.probabilities
        encoder = MessageEncoder(
            labels=self._labels,
            model=identity,
            calibration_id=told.get("calibration_id"),
            task=self._task,
            top=None if kept == "all" else kept,
        )
        return Deployment(
            id=told["stage"],
            classifier=_Elsewhere(identity),  # type: ignore[arg-type]  # it is never asked
            policy=RoutingPolicy(self._labels, routing, (1.0,) * len(self._labels)),
            encoder=OriginEncoder(encoder),
            topics=self._output,
            task=self._task,
            stage=told["stage"],
        )


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    """The model of a stage that another service runs."""

    identity: ModelIdentity
