"""Makes the deployments and the plan of a service from its settings and loaded models."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import structlog

from streamlabel.config.cascade import passed_on
from streamlabel.config.deployments import all_deployments
from streamlabel.config.settings import Settings
from streamlabel.consumer.plans.cascade import Cascade, PassesOn, refuse_other_labels
from streamlabel.consumer.plans.condition import Condition
from streamlabel.consumer.plans.deployment import Deployment, deploy
from streamlabel.consumer.plans.deployment_id import deployment_id
from streamlabel.consumer.plans.earlier_stages import EarlierStages, OriginEncoder
from streamlabel.consumer.plans.languages import Languages
from streamlabel.consumer.plans.plan import Plan, Single, TaskPlan
from streamlabel.consumer.plans.proven_cascade import refuse_other_cascade, with_changes_named
from streamlabel.consumer.plans.several_tasks import SeveralTasks, TaskOfPlan
from streamlabel.consumer.routing.calibrated_router import read_calibration
from streamlabel.errors import ConfigError
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.core.classifier import Classifier
from streamlabel.models.files.trained_length import other_length

_log = structlog.get_logger(__name__)

__all__ = ["Calibrations", "deploy_all", "plan_for", "read_calibrations"]

# The calibration of each model, by the id of the deployment; None: it has none.
Calibrations = Mapping[str, CalibrationFile | None]


def read_calibrations(settings: Settings) -> dict[str, CalibrationFile | None]:
    """Return the calibration of each model, by the id of the deployment. Blocks.

    Raises:
        ConfigError: one cannot be read.
    """
    models = all_deployments(settings, everywhere=True)
    return {each.id: read_calibration(each.settings.routing) for each in models}


def deploy_all(
    settings: Settings,
    classifiers: Mapping[str, Classifier],
    *,
    limit_bytes: Callable[[str], int],
    calibrations: Calibrations,
) -> list[Deployment]:
    """Return the deployments of a service.

    Args:
        settings: of the service.
        classifiers: the loaded models, by the id of the deployment.
        limit_bytes: largest output that a topic accepts.
        calibrations: as ``read_calibrations`` returned them.

    Raises:
        ConfigError: as for ``deploy``, or a calibration is of another cascade.
    """
    calibration_ids = {name: each.id for name, each in calibrations.items() if each is not None}
    name = deployment_id(settings, classifiers, calibration_ids)
    models = all_deployments(settings, everywhere=True)
    refuse_other_cascade(models, calibrations)
    deployments = [
        deploy(
            each,
            classifiers[each.id],
            limit_bytes=limit_bytes,
            calibration=calibrations.get(each.id),
            deployment_id=name,
        )
        for each in all_deployments(settings)
    ]
    for each in deployments:
        model = each.classifier
        if differs := other_length(model.identity.details, model.hints.max_tokens):
            _log.warning("trained_with_other_length", deployment=each.id, advice=differs)
    deployments = with_changes_named(models, deployments, calibrations)
    if not settings.reads_escalations:
        return deployments
    return [replace(each, encoder=OriginEncoder(each.encoder)) for each in deployments]


def plan_for(settings: Settings, deployments: Sequence[Deployment]) -> Plan:
    """Return the plan of a service.

    Raises:
        ConfigError: the labels of two stages differ, a condition names a label that the task does
            not have, or it names a language and the library is missing.
    """
    by_task: dict[str | None, list[Deployment]] = {}
    for each in deployments:
        by_task.setdefault(each.task, []).append(each)
    if settings.reads_escalations or not settings.tasks:
        [(task, own)] = by_task.items()
        return _task_plan(settings, task, own)  # its condition held in the service before
    topics = settings.input if any(each.tasks for each in settings.input.topics) else None
    tasks: dict[str, TaskOfPlan] = {}
    for name in _ordered(settings):
        when = settings.tasks[name].when
        needs = {
            other: frozenset([wanted] if isinstance(wanted, str) else wanted)
            for other, wanted in when.tasks.items()
        }
        for other, labels in needs.items():
            _refuse_unknown(labels, by_task[other][-1], f"tasks.{name}.when", other)
        plan = _task_plan(settings, name, by_task[name])
        condition = None
        if when.metadata or when.headers or when.language or topics is not None:
            condition = Condition(when, task=name, topics=topics)
        tasks[name] = TaskOfPlan(plan, condition, needs)
    task_of = {each.id: each.task or "" for each in deployments}
    needs_language = any(task.when.language for task in settings.tasks.values())
    return SeveralTasks(tasks, task_of, Languages() if needs_language else None)


def _task_plan(settings: Settings, task: str | None, own: Sequence[Deployment]) -> TaskPlan:
    """Return the plan of a task.

    Args:
        settings: of the service.
        task: its name; None: the stream has only one.
        own: its deployments in this service.
    """
    stages = settings.cascades[task]
    if not stages:
        return Single(own[0].id)
    refuse_other_labels(own, "cascade" if task is None else f"tasks.{task}.cascade")
    after = passed_on(stages, settings.input.weights)
    to = None
    if after is not None and after.escalate is not None:
        to = PassesOn(after.escalate, after.deadline_s)
    earlier = EarlierStages(stages, own[-1]) if settings.reads_escalations else None
    return Cascade([each.id for each in own], passes_on=to, earlier=earlier)


def _ordered(settings: Settings) -> Iterator[str]:
    """Yield the tasks, those that another one needs first; the settings have no circle."""
    given: set[str] = set()

    def walk(name: str) -> Iterator[str]:
        if name not in given:
            for other in settings.tasks[name].when.tasks:
                yield from walk(other)
            given.add(name)
            yield name

    for name in settings.tasks:
        yield from walk(name)


def _refuse_unknown(labels: frozenset[str], deployment: Deployment, path: str, task: str) -> None:
    unknown = sorted(labels - set(deployment.policy.labels.names))
    if unknown:
        raise ConfigError(
            f"{path}.tasks.{task}: {', '.join(unknown)}: unknown label; the labels of the task are"
            f" {deployment.policy.labels.listed}"
        )
