"""Hot swap: other models, prompts, thresholds or calibrations without a restart or a lost record.

The new models load beside the old ones, which keep working. Then come the checks, a trial on a
share of the records if one is wanted, and the swap: records read from then on belong to the new
deployment, those read before are finished by the old one, whose processes then end. If anything
fails before the swap, the old deployment stays.

Without memory for both, reading pauses, the present models finish what was read and end, and then
the new ones load; if they fail, the present ones are loaded again.
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
from streamlabel.consumer.control.deployment_checks import (
    refusal,
    refuse_failing,
    refuse_other_changes,
    refuse_other_digests,
)
from streamlabel.consumer.core.device_room import OnDevices
from streamlabel.consumer.core.free_memory import free_bytes, shortage
from streamlabel.consumer.core.ports import Metrics
from streamlabel.consumer.observability.drift_watch import drift_watches
from streamlabel.consumer.pipeline import Pipeline
from streamlabel.consumer.plans.deployment_id import deployment_id
from streamlabel.consumer.plans.opening import Calibrations, deploy_all, plan_for, read_calibrations
from streamlabel.consumer.workers import Workers
from streamlabel.errors import DeploymentRefusedError, ModelLoadError, StreamlabelError

__all__ = ["Swapper"]

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
        free_bytes: returns how much memory is free; None: not known.
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
        free_bytes: Callable[[], int | None] = free_bytes,
    ) -> None:
        self._free_bytes = free_bytes
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
        _log.info("deployment_loads")
        try:
            refuse_other_changes(self._settings, wanted)
            await asyncio.to_thread(refuse_missing, paths_needed(wanted))
            calibrations = await asyncio.to_thread(read_calibrations, wanted)
            pids = [each.pid for each in self._workers.processes.values()]
            present = OnDevices(self._settings, *await self._workers.on_devices())
            short = await asyncio.to_thread(shortage, wanted, pids, self._free_bytes, present)
        except StreamlabelError as error:
            raise refusal(error) from error
        if short is None:
            return await self._swap_beside(wanted, digests, canary, calibrations)
        if canary is not None:
            raise DeploymentRefusedError(
                f"a canary needs memory for both deployments, but {short}; deploy without a canary"
            )
        return await self._swap_after(wanted, digests, calibrations, why=short)

    async def _swap_beside(
        self,
        wanted: Settings,
        digests: Mapping[str, str],
        canary: CanaryLimits | None,
        calibrations: Calibrations,
    ) -> str:
        workers = self._open_workers(wanted)
        try:
            name, running = await self._prepared(wanted, workers, digests, calibrations)
            self._watch(workers)
            if canary is not None:
                await self._try(running, canary, name)
        except BaseException as error:
            await workers.close()
            if isinstance(error, Exception):
                raise refusal(error) from error
            raise
        previous = self._take(wanted, workers)
        try:
            await self._pipeline.plans.swap(running)
        finally:
            await previous.close()
        return name

    async def _swap_after(
        self, wanted: Settings, digests: Mapping[str, str], calibrations: Calibrations, *, why: str
    ) -> str:
        """End the present models before the new ones load; load them again if that fails."""
        _log.warning("reading_paused", why=why)
        workers = self._open_workers(wanted)
        try:
            await self._pipeline.hold()
            await self._workers.close()
            name, running = await self._prepared(wanted, workers, digests, calibrations)
        except BaseException as error:
            await workers.close()
            if self._pipeline.is_held and not self._pipeline.is_draining:
                await self._restore(error)
            if isinstance(error, Exception):
                raise refusal(error) from error
            raise
        self._resume(wanted, workers, running)
        return name

    async def _restore(self, cause: BaseException) -> None:
        """Load the present models again; if that fails, the service ends."""
        await self._workers.close()
        workers = self._open_workers(self._settings)
        try:
            calibrations = await asyncio.to_thread(read_calibrations, self._settings)
            _, running = await self._prepared(self._settings, workers, {}, calibrations)
        except StreamlabelError as error:
            await workers.close()
            why = f"a deployment failed ({str(cause) or 'cancelled'}), and the models before it"
            self._pipeline.fail(ModelLoadError(f"{why} cannot be loaded again: {error}"))
            return
        self._resume(self._settings, workers, running)

    def _resume(self, settings: Settings, workers: Workers, running: RunningPlan) -> None:
        self._take(settings, workers)
        self._watch(workers)
        self._pipeline.resume(running)
        _log.info("reading_resumed")

    def _take(self, settings: Settings, workers: Workers) -> Workers:
        """Use other workers from now on, and return those before."""
        previous, self._workers, self._settings = self._workers, workers, settings
        self._on_swapped(workers)
        return previous

    async def _prepared(
        self,
        wanted: Settings,
        workers: Workers,
        digests: Mapping[str, str],
        calibrations: Calibrations,
    ) -> tuple[str, RunningPlan]:
        """Load and check the new deployment; return its id and plan."""
        classifiers = await workers.load(calibrations)
        refuse_other_digests(classifiers, digests)
        await refuse_failing(classifiers)
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
        self._pipeline.plans.begin_canary(canary)
        try:
            await canary.has_enough.wait()
            worse = canary.worse()
        except BaseException:
            await self._pipeline.plans.end_canary()
            raise
        if worse is not None:
            await self._pipeline.plans.end_canary()
            raise DeploymentRefusedError(f"the canary is worse: {worse}")
