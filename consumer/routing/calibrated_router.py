"""Reads the calibration of the settings and checks it against the model that is loaded."""

from pathlib import Path

import structlog

from streamlabel.config.settings import RoutingSettings
from streamlabel.consumer.routing.router import RoutingPolicy, routing_policy
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.core.classifier import Classifier

__all__ = ["policy_for", "read_calibration"]

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
    if policy.loosened:
        _log.warning(
            "calibrated_thresholds_loosened",
            labels=policy.loosened,
            advice="the calibration's target error no longer holds; remove routing.thresholds",
        )
    return policy
