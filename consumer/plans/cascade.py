"""The plan of a cascade: what a stage is not sure of goes to the next one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from streamlabel.consumer.core.records import TextRecord
from streamlabel.consumer.plans.deployment import Deployment
from streamlabel.consumer.plans.job import Classified, Escalated, Job, Result
from streamlabel.consumer.plans.plan import Ask, Done
from streamlabel.consumer.routing.decision import Decision, StageAnswer
from streamlabel.errors import ConfigError, RecordError

__all__ = ["LATE", "Cascade", "PassesOn", "refuse_other_labels"]

# Why a stage has no result, although nothing is wrong with the text: the record goes to review with
# the result of the stage before.
LATE = frozenset({"deadline", "stage_full"})


@dataclass(frozen=True, slots=True)
class PassesOn:
    """Where records go on that no stage of this service is sure of.

    Attributes:
        topic: input of the service with the next stages.
        deadline_s: maximum wait for the result of the first of them; None: no limit.
    """

    topic: str
    deadline_s: float | None


class Cascade:
    """Asks the stages one after the other until one is sure. Implements ``TaskPlan``.

    A stage is sure of what its routing accepts; being drawn for the audit changes nothing about
    that. A stage that fails for a text is treated as one that is not sure. After the last stage the
    result is what it is: accepted, for review, or a dead letter if the last stage failed. If the
    last stage is sure, and an earlier one reached its threshold for another label, the record goes
    to review with ``disagreement``.

    Args:
        stages: ids of the deployments, in the order of the stages; two, or one of several services.
        passes_on: to the service of the next stages; None: there is none.
        earlier: returns what the stages of other services said about a record; None: there are
            none.
    """

    languages = None

    def __init__(
        self,
        stages: Sequence[str],
        *,
        passes_on: PassesOn | None = None,
        earlier: Callable[[TextRecord], Sequence[Result]] | None = None,
    ) -> None:
        self._stages = tuple(stages)
        self._passes_on = passes_on
        self._earlier = earlier
        self._asks = {stage: (Ask(stage),) for stage in stages}
        self._next = dict(pairwise(stages))

    def start(self, record: TextRecord) -> Sequence[Ask]:
        """Ask the first stage."""
        del record
        return self._asks[self._stages[0]]

    def next(self, job: Job, result: Result) -> Sequence[Ask] | Done:
        """Ask the next stage, or finish."""
        final = self.result(job)
        if final is not None:
            return Done((final,))
        return self._asks[self._next[result.deployment.id]]

    def result(self, job: Job) -> Result | None:
        """Return the result of the last stage that was asked, with those of all; None: open."""
        answers = [] if self._earlier is None else [*self._earlier(job.record)]
        for stage in self._stages:
            result = job.results.get(stage)
            if result is None:
                return None
            answers.append(result)
            if _is_sure(result) or _is_late(result) or stage not in self._next:
                break
        last = answers[-1]
        if self._passes_on is not None and not (_is_sure(last) or _is_late(last)):
            return _escalated(answers, self._passes_on)
        return _combined(answers)


def _escalated(answers: Sequence[Result], to: PassesOn) -> Escalated:
    deployment = answers[-1].deployment
    error = RecordError("escalated", f"{deployment.stage} is not sure")
    return Escalated(deployment, error, to.topic, tuple(answers), to.deadline_s)


def _is_sure(result: Result) -> bool:
    if not isinstance(result, Classified):
        return False
    return result.decision.route == "label" or result.decision.reasons == ("audit",)


def _is_late(result: Result) -> bool:
    return not isinstance(result, Classified) and result.error.reason in LATE


def _combined(answers: Sequence[Result]) -> Result:
    """Return the result of the record, given those of its stages in order."""
    last = answers[-1]
    reason = ""
    if isinstance(last, Classified):
        if _is_sure(last) and any(_contradicts(each, last) for each in answers[:-1]):
            reason = "disagreement"
    elif last.error.reason in LATE:
        reason = last.error.reason
        classified = [each for each in answers if isinstance(each, Classified)]
        if not classified:  # an error of the text, and no label to show: a dead letter
            return answers[0]
        last = classified[-1]
    else:
        return last
    decision = replace(last.decision, stages=tuple(map(_answer, answers)))
    if reason:
        decision = _to_review(last.deployment, decision, reason)
    return replace(last, decision=decision)


def _contradicts(earlier: Result, last: Classified) -> bool:
    """Return whether an earlier stage reached its threshold, for another label."""
    if not isinstance(earlier, Classified):
        return False
    decision = earlier.decision
    if decision.confidence is None or decision.threshold is None:
        return False
    return decision.confidence >= decision.threshold and (
        set(decision.labels) != set(last.decision.labels)
    )


def _to_review(deployment: Deployment, decision: Decision, reason: str) -> Decision:
    reasons = tuple(each for each in decision.reasons if each != "audit")
    is_copied = deployment.policy.settings.review == "copy"
    return replace(
        decision,
        route="copy" if is_copied else "review",
        reasons=(*reasons, reason),
        audit_probability=None,
    )


def _answer(result: Result) -> StageAnswer:
    deployment = result.deployment
    stage, model = deployment.stage or deployment.id, deployment.identity.name
    if isinstance(result, Classified):
        decision = result.decision
        return StageAnswer(stage, model, decision.label, decision.confidence, decision.reasons)
    return StageAnswer(stage, model, None, None, (result.error.reason,))


def refuse_other_labels(stages: Sequence[Deployment], path: str) -> None:
    """Refuse stages whose labels differ.

    Args:
        stages: the deployments, with the labels of the model renamed by ``labels``.
        path: of the section ``cascade``, for the message.

    Raises:
        ConfigError: says which label to map.
    """
    last = stages[-1].policy.labels
    for number, stage in enumerate(stages[:-1]):
        labels = stage.policy.labels
        if labels.problem_type != last.problem_type:
            raise ConfigError(
                f"{path}[{number}]: its model is {labels.problem_type}, that of the last stage"
                f" {last.problem_type}; use models of the same kind"
            )
        unknown = [name for name in labels.names if name not in last.names]
        missing = [name for name in last.names if name not in labels.names]
        if unknown or missing:
            raise ConfigError(
                f"{path}[{number}].labels: the labels of the stage are {labels.listed}, those of"
                f" the last stage {last.listed}; map each label that has another name"
            )
