"""The checks of ``streamlabel check`` for the models of a service, one or several."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from streamlabel.config.deployments import DeploymentSettings, all_deployments
from streamlabel.config.settings import Settings
from streamlabel.consumer.core.ports import Clock
from streamlabel.consumer.kafka.topics import Topic
from streamlabel.consumer.plans.deployment import Deployment, deploy
from streamlabel.consumer.plans.opening import plan_for
from streamlabel.consumer.plans.proven_cascade import refuse_other_cascade
from streamlabel.consumer.shadowing import shadow_settings
from streamlabel.errors import ConfigError
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.core.classifier import Classifier
from streamlabel.models.encoder.trunk import find_shared_trunks
from streamlabel.tools.preflight import PreflightCheck, check_model

__all__ = ["check_models"]

_NO_LIMIT_BYTES = 1 << 40  # the size of outputs has a check of its own


async def check_models(
    settings: Settings,
    *,
    clock: Clock,
    configure_worker: Callable[[], None] | None,
    topics: Mapping[str, Topic],
) -> AsyncIterator[PreflightCheck]:
    """Check each model, see ``check_model``, and that their labels fit together.

    The models are loaded one after the other; the service has all of them in memory.

    Args:
        settings: of the service.
        clock: for the times in the details.
        configure_worker: called first in each worker process (logging); must be picklable.
        topics: existing output topics, by name.
    """
    models = all_deployments(settings)
    deployments: list[Deployment] = []
    calibrations: dict[str, CalibrationFile | None] = {}
    for each in models:
        checks = check_model(
            each.settings,
            clock=clock,
            configure_worker=configure_worker,
            topics=topics,
            on_loaded=partial(_note, deployments, calibrations, each),
        )
        async for check in checks:
            yield replace(check, name=f"{each.id} {check.name}") if each.path else check
    if settings.shadow is not None:
        own = shadow_settings(settings)
        async for check in check_model(
            own, clock=clock, configure_worker=configure_worker, topics=topics
        ):
            yield replace(check, name=f"shadow {check.name}")
    is_cascade = any(file is not None and file.cascade for file in calibrations.values())
    if len(deployments) == len(models) and (len(models) > 1 or is_cascade or settings.tasks):
        async for check in _check_plan(settings, models, deployments, calibrations):
            yield check


async def _check_plan(
    settings: Settings,
    models: Sequence[DeploymentSettings],
    deployments: Sequence[Deployment],
    calibrations: Mapping[str, CalibrationFile | None],
) -> AsyncIterator[PreflightCheck]:
    """Check that the labels of the models fit together, and say which are computed together."""
    try:
        refuse_other_cascade(models, calibrations)
        plan_for(settings, deployments)
    except ConfigError as error:
        yield PreflightCheck("plan", failure=error)
    else:
        yield PreflightCheck("plan", _described(settings))
        async for check in _encoders(deployments, models):
            yield check


def _note(
    deployments: list[Deployment],
    calibrations: dict[str, CalibrationFile | None],
    model: DeploymentSettings,
    classifier: Classifier,
    calibration: CalibrationFile | None,
) -> None:
    calibrations[model.id] = calibration
    deployments.append(
        deploy(model, classifier, limit_bytes=lambda _: _NO_LIMIT_BYTES, calibration=calibration)
    )


async def _encoders(
    deployments: Sequence[Deployment], models: Sequence[DeploymentSettings]
) -> AsyncIterator[PreflightCheck]:
    """Say which models are computed together; yields nothing if none of them could be."""
    is_packed = {each.id: each.identity.details.get("forward") == "packed" for each in deployments}
    sections = {each.id: each.settings.model for each in models if is_packed[each.id]}
    sharing = await asyncio.to_thread(find_shared_trunks, sections)
    if sharing.groups or sharing.apart:
        shared = [
            f"{', '.join(group)}: the same encoder, computed once for all"
            for group in sharing.groups
        ]
        yield PreflightCheck("encoders", "; ".join(shared), warnings=sharing.apart)


def _described(settings: Settings) -> str:
    """Return the order in which models are asked, task by task."""
    cascades = {"": settings.cascade} if settings.cascade else {}
    cascades |= {f"{name}: ": task.cascade for name, task in settings.tasks.items()}
    return "; ".join(
        name + (" -> ".join(stage.name for stage in stages) or "one model")
        for name, stages in cascades.items()
    )
