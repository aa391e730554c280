"""The next stricter thresholds after an alarm of the monitor. Only a person loosens them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamlabel.config.deployments import DeploymentSettings, all_deployments
from streamlabel.config.settings import Settings
from streamlabel.consumer.control.messages import ordered_settings, sections_of
from streamlabel.consumer.routing.router import routing_policy
from streamlabel.learning.monitor import Target
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.calibration.thresholds import NEVER
from streamlabel.models.core.labels import LabelSet

__all__ = [
    "Deployed",
    "deployed_of",
    "next_step",
    "next_stricter",
    "routing_in",
    "tightened_file",
    "tightened_settings",
]

# The largest threshold of the settings: as good as always review.
_MOST = 1.0


@dataclass(frozen=True, slots=True)
class Deployed:
    """A model with the calibration that is in force for it.

    Attributes:
        settings: of the model.
        file: its calibration.
        thresholds: in force, by label; ``NEVER``: always reviewed.
        threshold_set_id: of these.
        absent: multi-label: thresholds of absent labels; empty: ``thresholds`` is for both answers.
    """

    settings: DeploymentSettings
    file: CalibrationFile
    thresholds: Mapping[str, float]
    threshold_set_id: str | None
    absent: Mapping[str, float] = field(default_factory=dict)


def deployed_of(settings: Settings) -> list[Deployed]:
    """Return the models of a service whose calibration guarantees a target error. Blocks.

    Raises:
        ConfigError: a calibration cannot be read.
    """
    found = []
    for each in all_deployments(settings):
        routing = each.settings.routing
        if routing.calibration is None:
            continue
        file = CalibrationFile.read(Path(routing.calibration).expanduser())
        if Target.of(file) is None:
            continue
        labels = LabelSet(tuple(file.model.labels), file.model.problem_type)
        policy = routing_policy(labels, routing, calibration=file)
        limits = dict(zip(labels.names, policy.thresholds, strict=True))
        absent = dict(zip(labels.names, policy.absent, strict=True)) if policy.absent else {}
        found.append(Deployed(each, file, limits, policy.threshold_set_id, absent))
    return found


def next_stricter(
    file: CalibrationFile, now: Mapping[str, float], labels: Collection[str] | None = None
) -> dict[str, float]:
    """Return the thresholds after one step, by label; ``NEVER`` if no stricter one is proven.

    Args:
        file: with the thresholds that are proven.
        now: thresholds in force.
        labels: to tighten, with those that share a threshold with them; None: all.
    """
    wanted = set(now if labels is None else labels)
    for pool in () if file.thresholds is None else file.thresholds.pooled:
        if wanted & set(pool):
            wanted |= set(pool)
    found = dict(now)
    for name in wanted:
        found[name] = min((t for t in file.stricter.get(name, ()) if t > now[name]), default=NEVER)
    return found


def next_step(
    file: CalibrationFile, now: Mapping[str, float], absent: Mapping[str, float]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the thresholds of a multi-label task after one step; ``NEVER`` if none is left.

    The tests were about all labels together, so that all of them step together.

    Args:
        file: with the steps that are proven.
        now: thresholds of present labels in force.
        absent: those of absent labels.

    Returns:
        The next thresholds of present labels, and of absent ones.
    """
    for step in () if file.answers is None else file.answers.stricter:
        present, no = _raised(now, step.by_label), _raised(absent, step.absent)
        if (present, no) != (dict(now), dict(absent)):
            return present, no
    return dict.fromkeys(now, NEVER), dict.fromkeys(absent, NEVER)


def tightened_file(
    file: CalibrationFile,
    thresholds: Mapping[str, float],
    absent: Mapping[str, float] | None = None,
) -> CalibrationFile:
    """Return a calibration with stricter thresholds, and an id of its own.

    What the thresholds did to the labelled texts is left out: it was counted with others.

    Args:
        file: in force.
        thresholds: by label; of a multi-label task with two thresholds a label, of present ones.
        absent: of absent labels, then.
    """
    section, answers = file.thresholds, file.answers
    if section is None:
        raise ValueError("a calibration without thresholds cannot be tightened. This is a bug.")
    changed = {
        "by_label": _written(thresholds),
        "summary": f"tightened after an alarm of the monitor; before: {section.summary}",
    }
    if answers is not None:
        answers = answers.model_copy(update={"absent": _written(absent or {})})
    return file.model_copy(
        update={
            "thresholds": section.model_copy(update=changed),
            "answers": answers,
            "by_label": {},
        }
    ).with_id()


def _raised(now: Mapping[str, float], step: Mapping[str, float | None]) -> dict[str, float]:
    """Return the stricter one of both, label by label."""
    found = {name: NEVER if t is None else t for name, t in step.items()}
    return {name: max(limit, found[name]) for name, limit in now.items()}


def _written(limits: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if t == NEVER else t for name, t in limits.items()}


def tightened_settings(
    settings: Settings, deployed: Deployed, thresholds: Mapping[str, float]
) -> Settings:
    """Return the settings of the service with stricter ``routing.thresholds`` for one model.

    Raises:
        MessageRefusedError: a secret in these sections keeps them from being deployed.
    """
    sections = sections_of(settings)
    routing = routing_in(sections, deployed.settings.path)
    before: dict[str, float] = routing.get("thresholds") or {}
    # Labels that are always reviewed stay out: any number would be less than that.
    raised = {
        name: min(limit, _MOST)
        for name, limit in thresholds.items()
        if limit > deployed.thresholds[name]
    }
    routing["thresholds"] = before | raised
    return ordered_settings(settings, sections)


def routing_in(sections: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the section ``routing`` of the model at a path such as ``tasks.topic.cascade[1]``."""
    here: Any = sections
    for part in filter(None, path.replace("[", ".").replace("]", "").split(".")):
        here = here[int(part)] if isinstance(here, list) else here[part]
    found: dict[str, Any] = here.setdefault("routing", {})
    return found
