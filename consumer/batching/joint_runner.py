"""Runs several deployments whose models are computed together: one pass for all that are asked.

A text is queued once, whichever deployments ask about it, and read once. All models answer in the
same pass; each deployment that was asked gets its own part. A deployment that is asked later,
because its condition names the label of another, gets its part of what is kept with the record.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

from streamlabel.config.settings import Settings
from streamlabel.consumer.batching.deciding import Answered, decide
from streamlabel.consumer.batching.model_runner import ModelRunner
from streamlabel.consumer.batching.submitted import SubmittedJobs
from streamlabel.consumer.plans.deployment import Deployment
from streamlabel.consumer.plans.job import Job, KeptAnswer, Result
from streamlabel.errors import InferenceError, RecordError
from streamlabel.models.core.classifier import Prediction
from streamlabel.models.core.joint import HeadClassifier

__all__ = ["JointRunner", "PartRunner", "together"]


class PartRunner:
    """What one deployment sees of a JointRunner: jobs in, its own results out."""

    def __init__(self, runner: "JointRunner", number: int) -> None:
        self._runner = runner
        self._number = number

    @property
    def deployment(self) -> Deployment:
        """The deployment, with its present policy."""
        return self._runner.deployments[self._number]

    def use(self, deployment: Deployment) -> None:
        """Use another policy from the next result on; the model stays the same."""
        if deployment.classifier is not self.deployment.classifier:
            raise ValueError("another model needs a runner of its own. This is a bug.")
        self._runner.deployments[self._number] = deployment

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take jobs; see ``ModelRunner.submit``."""
        for job in jobs:
            self._runner.ask(job, self._number)


class _Unknown(SubmittedJobs):
    """Jobs that have to be computed; the others are given their results when they are taken."""

    def __init__(self, give_kept: Callable[[Job], bool]) -> None:
        super().__init__()
        self._give_kept = give_kept

    async def take(self) -> list[Job]:
        """Wait for jobs, and return those that have to be computed; at least one."""
        while True:
            jobs = [job for job in await super().take() if not self._give_kept(job)]
            if jobs:
                return jobs


class JointRunner(ModelRunner):
    """Takes jobs for several deployments; reports a result for each that was asked.

    Args:
        deployments: their classifiers are ``HeadClassifier`` of the same joint classifier.
        options: see ``ModelRunner``.

    Attributes:
        deployments: as given, with their present policies.
        parts: what each deployment sees, in the same order.
    """

    def __init__(
        self,
        deployments: Sequence[Deployment],
        *,
        settings: Settings,
        on_results: Callable[[Sequence[tuple[Job, Result]]], None],
        **options: Any,  # noqa: ANN401 those of ModelRunner
    ) -> None:
        self._heads = [cast("HeadClassifier", each.classifier) for each in deployments]
        joint = replace(deployments[0], classifier=self._heads[0].joint)
        super().__init__(joint, settings=settings, on_results=on_results, **options)
        self.deployments = list(deployments)
        self.parts = [PartRunner(self, number) for number in range(len(deployments))]
        self._submitted = _Unknown(self._give_kept)
        # The deployments that asked about a record and have no result; each record is queued once.
        self._asked: dict[Job, list[int]] = {}

    def ask(self, job: Job, number: int) -> None:
        """Take a job for one of the deployments."""
        asked = self._asked.get(job)
        if asked is not None:
            asked.append(number)
            return
        self._asked[job] = [number]
        self._submitted.add([job])

    def forget_unwanted(self) -> None:
        """Drop the jobs of revoked partitions."""
        super().forget_unwanted()
        self._asked = {job: asked for job, asked in self._asked.items() if job.is_wanted()}

    def _give_kept(self, job: Job) -> bool:
        """Give the results of a record at once if its answer is kept; return whether it is."""
        kept = job.kept.get(self) if job.kept else None
        if kept is None:
            return False
        self._give(
            [([job], kept.answer)], self._clock.now_s(), kept.inference_s, cached=kept.cached
        )
        return True

    def _give(
        self, answered: Answered, began_s: float, inference_s: float = 0.0, *, cached: bool = False
    ) -> Sequence[tuple[Job, Result]]:
        """Decide about jobs for each deployment that asked, and tell the results."""
        takers: list[list[tuple[list[Job], Prediction | RecordError]]] = [[] for _ in self._heads]
        for jobs, answer in answered:
            for number, asking in enumerate(self._askers(jobs, answer, inference_s, cached=cached)):
                if asking:
                    takers[number].append((asking, self._own(number, answer)))
        told: list[tuple[Job, Result]] = []
        for number, own in enumerate(takers):
            if own:
                results = decide(
                    self.deployments[number],
                    own,
                    began_s=began_s,
                    inference_s=inference_s,
                    now_ms=self._clock.epoch_ms(),
                    cached=cached,
                )
                self._on_results(results)
                told += results
        return told

    def _askers(
        self,
        jobs: Sequence[Job],
        answer: Prediction | RecordError,
        inference_s: float,
        *,
        cached: bool,
    ) -> list[list[Job]]:
        """Return which of the jobs each deployment asked about; keep the answer for the others."""
        askers: list[list[Job]] = [[] for _ in self._heads]
        repeated = cached
        for job in jobs:
            asked = self._asked.pop(job, ())
            for number in asked:
                askers[number].append(job)
            if len(asked) < len(self._heads):
                job.kept = job.kept or {}
                job.kept[self] = KeptAnswer(answer, inference_s, repeated)
            repeated = True
        return askers

    def _own(self, number: int, answer: Prediction | RecordError) -> Prediction | RecordError:
        """Return the part of one model."""
        if isinstance(answer, RecordError):
            return answer
        own = self._heads[number].own(answer)
        return RecordError("inference_error", str(own)) if isinstance(own, InferenceError) else own


def together(deployments: Sequence[Deployment]) -> list[list[Deployment]]:
    """Return the deployments in groups: those whose models are computed together, or one alone."""
    groups: dict[int, list[Deployment]] = {}
    for each in deployments:
        classifier = each.classifier
        key = classifier.joint if isinstance(classifier, HeadClassifier) else each
        groups.setdefault(id(key), []).append(each)
    return list(groups.values())
