"""Makes the deployments and the plan of a service from its settings and loaded models."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from streamlabel.config.cascade import part_here
from streamlabel.config.deployments import DeploymentSettings, all_deployments
from streamlabel.config.settings import Settings
from streamlabel.consumer.plans.cascade import Cascade, PassesOn, refuse_other_labels
from streamlabel.consumer.plans.condition import Condition
from streamlabel.consumer.plans.deployment import Deployment, deploy
from streamlabel.consumer.plans.deployment_id import deployment_id
from streamlabel.consumer.plans.earlier_stages import EarlierStages, OriginEncoder
from streamlabel.consumer.plans.escalation import reads_escalations
from streamlabel.consumer.plans.plan import Plan, Single, TaskPlan
from streamlabel.consumer.plans.proven_cascade import refuse_other_cascade, with_changes_named
from streamlabel.consumer.plans.several_tasks import SeveralTasks, TaskOfPlan
from streamlabel.consumer.routing.calibrated_router import read_calibration
from streamlabel.errors import ConfigError
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.core.classifier import Classifier

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
    deployments = with_changes_named(models, deployments, calibrations)
    if not reads_escalations(settings):
        return deployments
    return [replace(each, encoder=OriginEncoder(each.encoder)) for each in deployments]


def plan_for(settings: Settings, deployments: Sequence[Deployment]) -> Plan:
    """Return the plan of a service.

    Raises:
        ConfigError: the labels of two stages differ, or a condition names a label that the task
            does not have.
    """
    known = {each.id: each for each in deployments}
    models = all_deployments(settings)
    if settings.escalation_topic is not None or reads_escalations(settings):
        return _part_of_cascade(settings, deployments)
    if not settings.tasks:
        return _task_plan(models, known, "cascade")
    by_task: dict[str, list[DeploymentSettings]] = {}
    for each in models:
        by_task.setdefault(each.task or "", []).append(each)
    tasks: dict[str, TaskOfPlan] = {}
    for name in _ordered(settings):
        when = settings.tasks[name].when
        needs = {
            other: frozenset([wanted] if isinstance(wanted, str) else wanted)
            for other, wanted in when.tasks.items()
        }
        for other, labels in needs.items():
            _refuse_unknown(labels, known[by_task[other][-1].id], f"tasks.{name}.when", other)
        plan = _task_plan(by_task[name], known, f"tasks.{name}.cascade")
        topics = settings.input if any(each.tasks for each in settings.input.topics) else None
        condition = None
        if when.metadata or when.headers or topics is not None:
            condition = Condition(when, task=name, topics=topics)
        tasks[name] = TaskOfPlan(plan, condition, needs)
    return SeveralTasks(tasks, {each.id: each.task or "" for each in models})


def _task_plan(
    models: Sequence[DeploymentSettings], known: Mapping[str, Deployment], path: str
) -> TaskPlan:
    if len(models) == 1:
        return Single(models[0].id)
    refuse_other_labels([known[each.id] for each in models], path)
    return Cascade([each.id for each in models])


def _part_of_cascade(settings: Settings, deployments: Sequence[Deployment]) -> Cascade:
    refuse_other_labels(deployments, "cascade")
    _, end = part_here(settings.cascade, settings.input.weights)
    to = None
    if settings.escalation_topic is not None:
        to = PassesOn(settings.escalation_topic, settings.cascade[end].deadline_s)
    earlier = None
    if reads_escalations(settings):
        earlier = EarlierStages(settings, deployments[-1].policy.labels)
    return Cascade([each.id for each in deployments], passes_on=to, earlier=earlier)


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
