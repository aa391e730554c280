"""A plan with what runs its deployments: replaced as a whole when models are swapped."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypedDict

from streamlabel.config.settings import Settings
from streamlabel.consumer.batching.deployment_metrics import DeploymentMetrics
from streamlabel.consumer.batching.joint_runner import JointRunner, PartRunner, together
from streamlabel.consumer.batching.model_runner import ModelRunner
from streamlabel.consumer.batching.stage_waits import StageWaits
from streamlabel.consumer.core.ports import Clock, Metrics
from streamlabel.consumer.plans.deployment import Deployment
from streamlabel.consumer.plans.job import Job, Result
from streamlabel.consumer.plans.plan import Plan
from streamlabel.consumer.routing.decision import Decision
from streamlabel.models.core.joint import HeadClassifier

__all__ = ["RunningPlan", "Watch"]


class Watch(Protocol):
    """Watches the decisions of a deployment."""

    def saw(self, decisions: Iterable[tuple[Decision, int]]) -> None:
        """Add decisions, each with the length of its text in characters."""
        ...


class _Options(TypedDict):
    """What every runner of a plan gets."""

    settings: Settings
    on_results: Callable[[Sequence[tuple[Job, Result]]], None]
    on_step: Callable[[], None]
    wants_work: asyncio.Event
    clock: Clock
    metrics: Metrics
    shares_tokens: bool


class RunningPlan:
    """A plan, a runner for each of its deployments, and the jobs that it has not concluded.

    Args:
        plan: decides which deployments classify a record.
        deployments: all deployments that the plan may name.
        drift: drift monitors by the id of the deployment they watch.
        settings: of the service, for batches and repeats.
        on_results: called with this plan, and jobs with their results, a batch at a time.
        on_step: called after each step of failure isolation.
        wants_work: set when a device can take more texts.

    Attributes:
        plan: as given.
        runners: by the id of the deployment; several may be parts of one that computes them
            together.
        waits: limits of stages, by the id of the deployment; only of those that have one.
        drift: as given.
        jobs: those that are not concluded.
    """

    def __init__(
        self,
        plan: Plan,
        deployments: Sequence[Deployment],
        *,
        settings: Settings,
        on_results: "Callable[[RunningPlan, Sequence[tuple[Job, Result]]], None]",
        on_step: Callable[[], None],
        wants_work: asyncio.Event,
        clock: Clock,
        metrics: Metrics,
        drift: Mapping[str, Watch],
    ) -> None:
        def take(results: Sequence[tuple[Job, Result]]) -> None:
            on_results(self, results)

        self.plan = plan
        self.drift = drift
        self.jobs: set[Job] = set()
        self.runners: dict[str, ModelRunner | PartRunner] = {}
        self._loops: list[ModelRunner] = []
        groups = together(deployments)
        ways = Counter(group[0].classifier.hints.prepared_by for group in groups)
        for group in groups:
            # several: the label of a batch that is computed for all of them
            own = DeploymentMetrics(metrics, "+".join(each.id for each in group))
            options: _Options = {
                "settings": settings,
                "on_results": take,
                "on_step": on_step,
                "wants_work": wants_work,
                "clock": clock,
                "metrics": own,
                "shares_tokens": ways[group[0].classifier.hints.prepared_by] > 1,
            }
            if isinstance(group[0].classifier, HeadClassifier):
                joint = JointRunner(group, **options)
                self._loops.append(joint)
                for each, part in zip(group, joint.parts, strict=True):
                    self.runners[each.id] = part
            else:
                self.runners[group[0].id] = runner = ModelRunner(group[0], **options)
                self._loops.append(runner)
        self.waits = {
            each.id: StageWaits(each, on_results=take, clock=clock)
            for each in deployments
            if each.deadline_s is not None or each.max_waiting_items is not None
        }
        self._is_idle = asyncio.Event()
        self._is_draining = False

    @property
    def max_in_flight(self) -> int:
        """Maximum batches in all models."""
        hints = [runner.deployment.classifier.hints for runner in self._loops]
        return sum(each.max_in_flight for each in hints)

    @property
    def is_busy(self) -> bool:
        """Whether the device of one model, for which the others wait, has enough to do."""
        return any(runner.is_busy for runner in self._loops)

    @property
    def is_ahead(self) -> bool:
        """Whether so many texts wait for one model that more would not improve its batches."""
        return any(runner.is_ahead for runner in self._loops)

    async def prefetch(self) -> None:
        """Let output formats fetch what encoding needs, and load what tells languages."""
        languages = self.plan.languages
        if languages is not None and not languages.is_loaded:
            await asyncio.to_thread(languages.load)
        for runner in self.runners.values():
            await runner.deployment.encoder.prefetch()

    async def run(self) -> None:
        """Run the models until cancelled.

        Raises:
            WorkerGaveUpError: a worker cannot be kept alive; in an exception group.
        """
        async with asyncio.TaskGroup() as group:
            for runner in self._loops:
                group.create_task(runner.run())
            for waits in self.waits.values():
                group.create_task(waits.run())

    def drain(self) -> None:
        """Stop waiting for texts that would fill a batch."""
        self._is_draining = True
        for runner in self._loops:
            runner.drain()
        self.note_if_idle()

    async def idle(self) -> None:
        """Wait until every job is concluded; call ``drain`` before."""
        await self._is_idle.wait()

    def note_if_idle(self) -> None:
        """Let ``idle`` return if it may."""
        if self._is_draining and not self.jobs:
            self._is_idle.set()

    def forget_unwanted(self) -> None:
        """Drop the jobs of revoked partitions."""
        self.jobs = {job for job in self.jobs if job.is_wanted()}
        for runner in self._loops:
            runner.forget_unwanted()
        for waits in self.waits.values():
            waits.forget_unwanted()
        self.note_if_idle()
