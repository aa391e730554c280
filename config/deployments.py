"""The models of a service, each with the settings of a service with only this model."""

from collections.abc import Iterator
from dataclasses import dataclass

from streamlabel.config.cascade import StageSettings, part_here, whole
from streamlabel.config.catalog import paths_in
from streamlabel.config.places import Place
from streamlabel.config.settings import Settings
from streamlabel.config.several import StreamTaskSettings
from streamlabel.errors import ConfigError

__all__ = [
    "DeploymentSettings",
    "all_deployments",
    "cascade_named",
    "for_deployment",
    "in_one_process",
    "metric_labels",
    "paths_needed",
    "paths_of_models",
]


@dataclass(frozen=True, slots=True)
class DeploymentSettings:
    """The settings of one model.

    Attributes:
        id: ``model`` for the only one, else the names of its task and its stage, with a slash
            between them: ``moderation``, ``fast``, ``moderation/fast``.
        settings: those of the service, as if this were its only model.
        task: name of its task; None: the stream has only one.
        stage: of its cascade; None: it is no stage.
        path: of the section that contains its settings, for messages; empty for the only model.
    """

    id: str
    settings: Settings
    task: str | None = None
    stage: StageSettings | None = None
    path: str = ""


def all_deployments(
    settings: Settings, *, everywhere: bool = False
) -> tuple[DeploymentSettings, ...]:
    """Return the models of the service, task by task, stage by stage.

    Args:
        settings: of the service.
        everywhere: with those stages and tasks that run in another service.
    """
    topics = settings.input.weights
    if settings.tasks:
        found: list[DeploymentSettings] = []
        for name, task in (settings.tasks if everywhere else settings.tasks_here).items():
            models = _of_task(settings, name, task)
            first, end = part_here(task.cascade, topics)
            found += models if everywhere or not task.cascade else models[first:end]
        return tuple(found)
    if settings.cascade:
        stages = tuple(
            DeploymentSettings(stage.name, _of_stage(settings, stage), None, stage, f"cascade[{i}]")
            for i, stage in enumerate(settings.cascade)
        )
        first, end = part_here(settings.cascade, topics)
        return stages if everywhere else stages[first:end]
    return (DeploymentSettings("model", settings),)


def for_deployment(settings: Settings, name: str | None) -> Settings:
    """Return the settings as if the named model were the only one.

    Args:
        settings: of a service with one model or several.
        name: the id of a deployment; None: the only one.

    Raises:
        ConfigError: there is no such deployment, or there are several and none is named.
    """
    found = all_deployments(settings, everywhere=True)
    if name is None and len(found) == 1:
        return found[0].settings
    for each in found:
        if each.id == name:
            return each.settings
    listed = ", ".join(each.id for each in found)
    if name is None:
        raise ConfigError(f"the configuration has several models; choose one: {listed}")
    raise ConfigError(f"there is no model {name!r} in the configuration; choose one of {listed}")


def cascade_named(settings: Settings, name: str | None) -> tuple[DeploymentSettings, ...]:
    """Return the stages of the cascade that is meant; none if one model is meant.

    Args:
        settings: of a service with one model or several.
        name: of a task with a cascade, or the id of a deployment; None: the only task.
    """
    if name is None and len(settings.tasks) > 1:
        return ()
    models = all_deployments(settings, everywhere=True)
    stages = [each for each in models if each.stage is not None]
    return tuple(each for each in stages if name is None or each.task == name)


def in_one_process(settings: Settings) -> Settings:
    """Return the settings with all stages in this process, for files and code."""
    tasks = {
        name: task.model_copy(update={"cascade": whole(task.cascade)})
        for name, task in settings.tasks.items()
    }
    return settings.model_copy(update={"cascade": whole(settings.cascade), "tasks": tasks})


def paths_needed(settings: Settings) -> Iterator[tuple[str, str, Place]]:
    """Yield ``paths_in`` the settings, without the models that run in another service."""
    here = {each.path for each in all_deployments(settings)}
    elsewhere = tuple(
        f"{each.path}.model.".replace("[", ".").replace("]", "")
        for each in all_deployments(settings, everywhere=True)
        if each.path not in here
    )
    return (found for found in paths_in(settings) if not found[0].startswith(elsewhere or "\0"))


def metric_labels(settings: Settings) -> dict[str, list[str]]:
    """Return the labels that metrics have because there are several models, with their values."""
    models = all_deployments(settings, everywhere=True)
    if len(models) == 1:
        return {"task": list(settings.tasks)} if settings.tasks else {}
    stages = [each.stage.name for each in models if each.stage is not None]
    found = {
        "deployment": [each.id for each in models],
        "task": list(settings.tasks),
        "stage": list(dict.fromkeys(stages)),
    }
    return {label: values for label, values in found.items() if values}


def paths_of_models(settings: Settings) -> Iterator[tuple[str, str, Place]]:
    """Yield ``paths_in`` for the models and their routing, without those of the connection."""
    for each in all_deployments(settings):
        above = tuple(each.path.replace("[", ".").replace("]", "").split(".")) if each.path else ()
        yield from paths_in(each.settings.model, (*above, "model"))
        yield from paths_in(each.settings.routing, (*above, "routing"))


def _of_task(
    settings: Settings, name: str, task: StreamTaskSettings
) -> tuple[DeploymentSettings, ...]:
    own = task.output.model_dump(exclude_none=True)
    ours = settings.model_copy(
        update={
            "model": task.model,
            "cascade": task.cascade,
            "routing": task.routing,
            "output": settings.output.model_copy(update=own),
            "tasks": {},
        }
    )
    path = f"tasks.{name}"
    if not task.cascade:
        return (DeploymentSettings(name, ours, name, None, path),)
    return tuple(
        DeploymentSettings(
            f"{name}/{each.name}", _of_stage(ours, each), name, each, f"{path}.cascade[{i}]"
        )
        for i, each in enumerate(task.cascade)
    )


def _of_stage(settings: Settings, stage: StageSettings) -> Settings:
    return settings.model_copy(
        update={"model": stage.model, "routing": stage.routing, "cascade": []}
    )
