"""Reads the calibration of the settings and checks it against the model that is loaded."""

from collections.abc import Sequence
from pathlib import Path

import structlog

from streamlabel.config.settings import RoutingSettings
from streamlabel.consumer.routing.router import RoutingPolicy, routing_policy
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.core.classifier import Classifier

__all__ = ["changes", "policy_for", "read_calibration"]

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
    classifier: Classifier, settings: RoutingSettings, calibration: CalibrationFile | None
) -> RoutingPolicy:
    """Return the policy for a model.

    Args:
        classifier: the model, loaded.
        settings: of its routing.
        calibration: as ``read_calibration`` returned it.

    Raises:
        ConfigError: the calibration is another model's, or a threshold names a label that the
            model does not have.
    """
    if (calibration is None) != (settings.calibration is None):
        raise ValueError("the calibration of the settings was not read. This is a bug.")
    if calibration is not None:
        path = Path(settings.calibration or "")
        for warning in calibration.check(classifier.labels, classifier.identity, path=path):
            _log.warning("calibration_from_elsewhere", warning=warning)
    policy = routing_policy(classifier.labels, settings, calibration=calibration)
    for change in changes(policy):
        _log.warning("calibrated_thresholds_changed", change=change)
    return policy


def changes(policy: RoutingPolicy) -> list[str]:
    """Return sentences: which thresholds of the calibration the settings change, and what holds."""
    found = []
    if policy.loosened:
        found.append(
            f"routing.thresholds lowers the calibrated threshold of {_named(policy.loosened)}: the"
            " target error of the calibration no longer holds; remove it from routing.thresholds"
        )
    if policy.raised:
        found.append(
            "routing.threshold or routing.thresholds raises the calibrated threshold of"
            f" {_named(policy.raised)}: fewer texts are accepted, and more go to review than the"
            " calibration says"
        )
    return found


def _named(labels: Sequence[str]) -> str:
    more = len(labels) - _SHOWN
    return ", ".join(labels[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
