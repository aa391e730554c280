"""Hot swap: other models, prompts, thresholds or calibrations without a restart or a lost record.

The new models load beside the old ones, which keep working. Then come the checks, a trial on a
share of the records if one is wanted, and the swap: records read from then on belong to the new
deployment, those read before are finished by the old one, whose processes then end. If anything
fails before the swap, the old deployment stays.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Never

import structlog

from streamlabel.config.deployments import paths_needed
from streamlabel.config.places import refuse_missing
from streamlabel.config.settings import Settings
from streamlabel.consumer.batching.canary import Canary, CanaryLimits
from streamlabel.consumer.batching.running_plan import RunningPlan
from streamlabel.consumer.control.messages import PLAN_SECTIONS
from streamlabel.consumer.core.ports import Metrics
from streamlabel.consumer.observability.drift_watch import drift_watches
from streamlabel.consumer.pipeline import Pipeline
from streamlabel.consumer.plans.deployment_id import deployment_id
from streamlabel.consumer.plans.opening import deploy_all, plan_for, read_calibrations
from streamlabel.consumer.workers import Workers
from streamlabel.errors import DeploymentRefusedError, InferenceError
from streamlabel.models.core.classifier import Classifier
from streamlabel.models.core.probes import PROBES

__all__ = ["Swapper", "refuse_other_digests"]

_log = structlog.get_logger(__name__)


class Swapper:
    """Swaps the models of a running service.

    Args:
        settings: with which the service runs.
        workers: of the present models.
        pipeline: which uses them.
        limit_bytes: largest output that a topic accepts.
        open_workers: returns the worker processes of other settings, not loaded yet.
        on_swapped: called with the workers that take the place of the present ones.
        watch: starts the check whether workers answer, until they are closed.
        metrics: counts swaps by outcome.
    """

    def __init__(
        self,
        settings: Settings,
        workers: Workers,
        pipeline: Pipeline,
        *,
        limit_bytes: Callable[[str], int],
        open_workers: Callable[[Settings], Workers],
        on_swapped: Callable[[Workers], None],
        watch: Callable[[Workers], None],
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._workers = workers
        self._on_swapped = on_swapped
        self._pipeline = pipeline
        self._limit_bytes = limit_bytes
        self._open_workers = open_workers
        self._watch = watch
        self._metrics = metrics
        self._lock = asyncio.Lock()

    async def run(self, wanted: asyncio.Queue[Settings]) -> Never:
        """Swap whenever other settings are wanted, until cancelled; refusals are logged."""
        while True:
            with suppress(DeploymentRefusedError):
                await self.swap(await wanted.get())

    async def swap(
        self,
        wanted: Settings,
        *,
        digests: Mapping[str, str] | None = None,
        canary: CanaryLimits | None = None,
    ) -> None:
        """Replace the present deployment; return when the old one has ended.

        Cancelling it before the swap leaves the old deployment in place.

        Args:
            wanted: the settings of the service with other models or routing.
            digests: deployment id -> digest that its model must have; None: any.
            canary: a trial before the swap; None: no trial.

        Raises:
            DeploymentRefusedError: the old deployment stays; the message says why.
        """
        async with self._lock:
            try:
                name = await self._swap(wanted, digests or {}, canary)
            except DeploymentRefusedError as error:
                self._metrics.increment("swaps", outcome="refused")
                _log.error("deployment_refused", why=str(error))
                raise
            self._metrics.increment("swaps", outcome="swapped")
            _log.info("deployment_active", deployment_id=name)

    async def _swap(
        self, wanted: Settings, digests: Mapping[str, str], canary: CanaryLimits | None
    ) -> str:
        """Swap, and return the id of the deployment."""
        _log.info("deployment_loads")
        workers = self._open_workers(wanted)
        try:
            name, running = await self._prepared(wanted, workers, digests)
            self._watch(workers)
            if canary is not None:
                await self._try(running, canary, name)
        except BaseException as error:
            await workers.close()
            if isinstance(error, Exception) and not isinstance(error, DeploymentRefusedError):
                raise DeploymentRefusedError(str(error)) from error
            raise
        previous, self._workers, self._settings = self._workers, workers, wanted
        self._on_swapped(workers)
        try:
            await self._pipeline.swap(running)
        finally:
            await previous.close()
        return name

    async def _prepared(
        self, wanted: Settings, workers: Workers, digests: Mapping[str, str]
    ) -> tuple[str, RunningPlan]:
        """Load and check the new deployment; return its id and plan."""
        _refuse_other_changes(self._settings, wanted)
        await asyncio.to_thread(refuse_missing, paths_needed(wanted))
        calibrations = await asyncio.to_thread(read_calibrations, wanted)
        classifiers = await workers.load(calibrations)
        refuse_other_digests(classifiers, digests)
        await _refuse_failing(classifiers)
        deployments = deploy_all(
            wanted, classifiers, limit_bytes=self._limit_bytes, calibrations=calibrations
        )
        plan = plan_for(wanted, deployments)
        drift = await asyncio.to_thread(
            drift_watches,
            calibrations,
            wanted.drift,
            deployments,
            self._metrics,
            self._pipeline.use,
        )
        found = {name: each.id for name, each in calibrations.items() if each is not None}
        name = deployment_id(wanted, classifiers, found)
        return name, self._pipeline.prepare(plan, deployments, drift=drift)

    async def _try(self, running: RunningPlan, limits: CanaryLimits, name: str) -> None:
        canary = Canary(running, limits, name=name)
        _log.info("canary_started", deployment_id=name, share=limits.share)
        self._pipeline.begin_canary(canary)
        try:
            await canary.has_enough.wait()
            worse = canary.worse()
        except BaseException:
            await self._pipeline.end_canary()
            raise
        if worse is not None:
            await self._pipeline.end_canary()
            raise DeploymentRefusedError(f"the canary is worse: {worse}")


def _refuse_other_changes(now: Settings, wanted: Settings) -> None:
    """Refuse what a swap cannot change.

    Raises:
        DeploymentRefusedError: another section differs, or outputs would go to other topics.
    """
    changed = [
        name
        for name in type(now).model_fields
        if name not in PLAN_SECTIONS and getattr(now, name) != getattr(wanted, name)
    ]
    if changed:
        raise DeploymentRefusedError(
            f"{', '.join(changed)}: a swap changes only {', '.join(PLAN_SECTIONS)}; restart the"
            " service for the rest"
        )
    others = sorted(set(wanted.output_topics) - set(now.output_topics))
    if others:
        raise DeploymentRefusedError(
            f"{', '.join(others)}: a swap cannot add output topics; restart the service"
        )


def refuse_other_digests(classifiers: Mapping[str, Classifier], digests: Mapping[str, str]) -> None:
    """Refuse models that are not those that were meant.

    Args:
        classifiers: the loaded models, by the id of the deployment.
        digests: what their digests must begin with; ids that are missing may have any.

    Raises:
        DeploymentRefusedError: a digest differs, or is given for a model that there is not.
    """
    unknown = sorted(set(digests) - set(classifiers))
    if unknown:
        raise DeploymentRefusedError(
            f"a digest is given for {', '.join(unknown)}, which is no model of the deployment"
        )
    for name, digest in digests.items():
        found = classifiers[name].identity.digest
        if not found.startswith(digest):
            raise DeploymentRefusedError(
                f"{name}: the digest of the model is {found[:12]}, not {digest[:12]}: this machine"
                " has other weights, another tokenizer or other labels"
            )


async def _refuse_failing(classifiers: Mapping[str, Classifier]) -> None:
    """Refuse a model that fails on fixed texts."""
    for name, classifier in classifiers.items():
        try:
            prepared = await classifier.prepare(PROBES)
            failed = [each for each in prepared if isinstance(each, InferenceError)]
            ready = [each for each in prepared if not isinstance(each, InferenceError)]
            answers = await classifier.classify(ready)
            failed += [each for each in answers if isinstance(each, InferenceError)]
        except InferenceError as error:
            failed = [error]
        if failed:
            raise DeploymentRefusedError(f"{name}: the model fails on a fixed text: {failed[0]}")
