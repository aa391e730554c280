"""Whether the calibrations of a service are used in the cascades that they were tested in.

A guarantee for all stages together holds only for these stages, in this order, each with its own
file of the same run: a file is refused anywhere else. In such a cascade more review in an earlier
stage is not harmless, because a later stage may then accept what was not tested there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import structlog

from streamlabel.config.deployments import DeploymentSettings
from streamlabel.consumer.plans.deployment import Deployment
from streamlabel.errors import ConfigError
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.calibration.calibration_sections import ProvenCascade

__all__ = ["refuse_other_cascade", "with_changes_named"]

_log = structlog.get_logger(__name__)

Calibrations = Mapping[str, CalibrationFile | None]


def refuse_other_cascade(models: Sequence[DeploymentSettings], calibrations: Calibrations) -> None:
    """Refuse calibrations of a cascade outside of it.

    Args:
        models: of the service.
        calibrations: by the id of the deployment.

    Raises:
        ConfigError: says which file belongs to which cascade.
    """
    for stages in _cascades(models):
        proven = [_proven(each, calibrations) for each in stages]
        if not any(proven):
            _log_untested(stages, calibrations)
            continue
        for each, found in zip(stages, proven, strict=True):
            _refuse(each, found, stages, proven)


def with_changes_named(
    models: Sequence[DeploymentSettings],
    deployments: Sequence[Deployment],
    calibrations: Calibrations,
) -> list[Deployment]:
    """Return the deployments; those whose stricter rules end a guarantee say ``loosened``."""
    last = {stages[-1].id for stages in _cascades(models)}
    named = []
    for each in deployments:
        file = calibrations.get(each.id)
        is_proven = file is not None and file.cascade is not None
        if is_proven and each.id not in last and each.policy.change == "tightened":
            change = (
                f"cascade stage {each.stage}: it passes on more than when the cascade was tested,"
                " so that what the calibration says about errors does not hold; set its thresholds"
                " and rules back, or calibrate again"
            )
            _log.warning("calibration_changed", change=change)
            changes = (*each.policy.changes, change)
            policy = replace(each.policy, change="loosened", changes=changes)
            each = replace(each, policy=policy)  # noqa: PLW2901 the same one, with another policy
        named.append(each)
    return named


def _cascades(models: Sequence[DeploymentSettings]) -> list[list[DeploymentSettings]]:
    """Return the stages of each cascade; a model that is no stage is alone."""
    found: dict[str, list[DeploymentSettings]] = {}
    for each in models:
        key = each.id if each.stage is None else f"cascade of {each.task}"
        found.setdefault(key, []).append(each)
    return list(found.values())


def _proven(model: DeploymentSettings, calibrations: Calibrations) -> ProvenCascade | None:
    file = calibrations.get(model.id)
    return None if file is None else file.cascade


def _refuse(
    model: DeploymentSettings,
    found: ProvenCascade | None,
    stages: Sequence[DeploymentSettings],
    all_found: Sequence[ProvenCascade | None],
) -> None:
    first = next(each for each in all_found if each is not None)
    setting = f"{model.path}.routing.calibration".lstrip(".")
    file = model.settings.routing.calibration or "none"
    tested = " -> ".join(each.name for each in first.stages)
    advice = "Run streamlabel calibrate for the whole cascade and use the file of each stage"
    if model.stage is None:
        raise ConfigError(
            f"{setting}: {file} was made for stage {first.stage} of the cascade {tested}, and its"
            " thresholds hold only there. Calibrate this model alone"
        )
    if found is None:
        raise ConfigError(
            f"{setting}: the other stages have calibrations of a cascade ({tested}), this one has"
            f" none of it. {advice}"
        )
    ours = [each.stage.name for each in stages if each.stage is not None]
    if ours != [each.name for each in first.stages] or found.stage != model.stage.name:
        raise ConfigError(
            f"{setting}: {file} was made for stage {found.stage} of the cascade"
            f" {' -> '.join(each.name for each in found.stages)}, not for stage"
            f" {model.stage.name} of {' -> '.join(ours)}. {advice}"
        )
    if found.model_copy(update={"stage": first.stage}) != first:
        raise ConfigError(
            f"{setting}: {file} is of another run than that of {first.stage}. {advice}"
        )
    [mine] = [each for each in found.stages if each.name == model.stage.name]
    if mine.labels != model.stage.labels:
        raise ConfigError(
            f"{model.path}.labels: {file} was made with other names of the labels"
            f" ({mine.labels or 'none'}, not {model.stage.labels or 'none'}). Set them back, or"
            " calibrate again"
        )


def _log_untested(stages: Sequence[DeploymentSettings], calibrations: Calibrations) -> None:
    files = [calibrations.get(each.id) for each in stages[1:]]
    if any(file is not None and file.limits for file in files):
        _log.warning(
            "cascade_not_proven",
            advice="the thresholds of later stages were tested on all texts, not on those that"
            " earlier stages pass on: run streamlabel calibrate for the whole cascade",
            stages=[each.id for each in stages],
        )
