"""Reads the calibration of the settings and checks it against the model that is loaded."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from streamlabel.config.settings import RoutingSettings, Settings
from streamlabel.consumer.routing.proven_settings import Differences, differences, proven_under
from streamlabel.consumer.routing.router import RoutingPolicy, routing_policy
from streamlabel.errors import ConfigError
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.calibration.calibration_sections import ProvenUnder
from streamlabel.models.core.classifier import BatchHints, Classifier, ModelIdentity
from streamlabel.models.core.labels import LabelSet

__all__ = ["policy_for", "policy_of", "read_calibration"]

# Labels that a sentence names.
_SHOWN = 10

_log = structlog.get_logger(__name__)


def read_calibration(settings: RoutingSettings) -> CalibrationFile | None:
    """Return the calibration that the settings name; None if they name none. Blocks.

    Raises:
        ConfigError: it cannot be read.
    """
    if settings.calibration is None:
        return None
    return CalibrationFile.read(Path(settings.calibration).expanduser())


def policy_for(
    classifier: Classifier, settings: Settings, calibration: CalibrationFile | None
) -> RoutingPolicy:
    """Return the policy for a model; log what of its calibration does not hold any more.

    Args:
        classifier: the model, loaded.
        settings: the whole configuration.
        calibration: as ``read_calibration`` returned it.

    Raises:
        ConfigError: the calibration is another model's, or was made with settings that give other
            predictions, or a threshold names a label that the model does not have.
    """
    labels, identity, hints = classifier.labels, classifier.identity, classifier.hints
    policy = policy_of(labels, identity, hints, settings, calibration)
    for change in policy.changes:
        _log.warning("calibration_changed", change=change)
    return policy


def policy_of(
    labels: LabelSet,
    identity: ModelIdentity,
    hints: BatchHints,
    settings: Settings,
    calibration: CalibrationFile | None,
) -> RoutingPolicy:
    """Return the policy as ``policy_for`` does, for a model that need not be loaded any more.

    Raises:
        ConfigError: as for ``policy_for``.
    """
    routing = settings.routing
    if (calibration is None) != (routing.calibration is None):
        raise ValueError("the calibration of the settings was not read. This is a bug.")
    policy = routing_policy(labels, routing, calibration=calibration)
    if calibration is None:
        return policy
    path = Path(routing.calibration or "")
    sentences = calibration.check(labels, identity, path=path)
    found = _found_differences(calibration, proven_under(settings, hints), path)
    other = _other_precision(calibration, identity)
    if other:
        sentences.append(f"{path} {other}")
    if calibration.thresholds is None:  # nothing was tested, so nothing is loosened
        return replace(policy, changes=tuple(sentences))
    sentences += _about_rules(found) + _about_thresholds(policy)
    change = policy.change
    if found.looser or other:
        change = "loosened"
    elif found.stricter:
        change = change or "tightened"
    return replace(policy, change=change, changes=tuple(sentences))


def _found_differences(calibration: CalibrationFile, now: ProvenUnder, path: Path) -> Differences:
    if calibration.settings is None:  # version 1 of the file
        return Differences((), (), ())
    found = differences(calibration.settings, now)
    if found.predictions:
        raise ConfigError(
            f"routing.calibration: {path} was made with other settings, which give other"
            f" predictions: {'; '.join(found.predictions)}. Set them back, or run streamlabel"
            " calibrate with the settings of now"
        )
    return found


def _other_precision(calibration: CalibrationFile, identity: ModelIdentity) -> str:
    """Return half a sentence if the model computes in another precision than the labelled texts."""
    then, now = calibration.model.dtype, identity.dtype
    used = calibration.precision
    if used is not None and used.exact_layers is not None:
        layers = identity.details.get("exact_layers", "0")
        if str(used.exact_layers) != layers:
            then += f" with {used.exact_layers} layers in float32"
            now += f" with {layers}"
    if then == now:
        return ""
    known = used is not None and used.tolerance is not None
    by = f"by up to {used.tolerance:g}" if used and known else "by an unknown amount"
    return (
        f"was fitted on dtype {then}, the model runs on {now}: confidences differ from those tested"
        f" {by}, and what the calibration says about errors does not hold; set model.dtype back, or"
        " calibrate again"
    )


def _about_rules(found: Differences) -> list[str]:
    sentences = []
    if found.looser:
        sentences.append(
            f"less goes to review than when the calibration was tested: {'; '.join(found.looser)}."
            " What it says about errors does not hold; set these back, or calibrate again"
        )
    if found.stricter:
        sentences.append(
            f"more goes to review than the calibration says: {'; '.join(found.stricter)}"
        )
    return sentences


def _about_thresholds(policy: RoutingPolicy) -> list[str]:
    sentences = []
    if policy.loosened:
        sentences.append(
            f"routing.thresholds lowers the calibrated threshold of {_named(policy.loosened)}: the"
            " target error of the calibration no longer holds; remove it from routing.thresholds"
        )
    if policy.raised:
        sentences.append(
            "routing.threshold or routing.thresholds raises the calibrated threshold of"
            f" {_named(policy.raised)}: fewer texts are accepted, and more go to review than the"
            " calibration says"
        )
    return sentences


def _named(labels: Sequence[str]) -> str:
    more = len(labels) - _SHOWN
    return ", ".join(labels[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
