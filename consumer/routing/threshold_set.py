"""The thresholds in force: those of the calibration, changed by the settings. Pure."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from streamlabel.config.routing import DEFAULT_THRESHOLD
from streamlabel.config.settings import RoutingSettings
from streamlabel.errors import ConfigError
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.core.labels import LabelSet

__all__ = ["ThresholdSet", "id_of_thresholds", "threshold_set"]


@dataclass(frozen=True, slots=True)
class ThresholdSet:
    """Thresholds by label.

    Attributes:
        by_label: shape (K,), in the order of the labels; above 1: never accepted.
        absent: multi_label: of absent labels, (K,); empty: ``by_label`` is for both answers.
        loosened: labels of which a threshold is below that of the calibration.
        raised: labels of which a threshold is above that of the calibration.
        id: None without a calibration.
    """

    by_label: tuple[float, ...]
    absent: tuple[float, ...]
    loosened: tuple[str, ...]
    raised: tuple[str, ...]
    id: str | None


def threshold_set(
    labels: LabelSet, settings: RoutingSettings, calibration: CalibrationFile | None
) -> ThresholdSet:
    """Return the thresholds of the calibration, with those of the settings beside them.

    ``routing.thresholds`` replaces them by label, for both answers of a multi-label task, and
    ``routing.threshold`` is a lower limit beside them: the operator's lever, which can only send
    more to review. Without a calibrated threshold it is the threshold itself.

    Raises:
        ConfigError: a threshold names a label that the model does not have.
    """
    unknown = sorted(set(settings.thresholds) - set(labels.names))
    if unknown:
        raise ConfigError(
            f"routing.thresholds: {', '.join(unknown)}: unknown label; the labels of the model are"
            f" {labels.listed}"
        )
    proven = {} if calibration is None else calibration.limits
    proven_absent = {} if calibration is None else calibration.absent_limits
    named = _named(labels, settings, proven)
    absent = _named(labels, settings, proven_absent) if proven_absent else {}
    pairs = [(named, proven), (absent, proven_absent)]
    found = None
    if calibration is not None:
        is_same = named == proven and absent == proven_absent
        found = calibration.threshold_set_id if is_same else id_of_thresholds(named, absent)
    return ThresholdSet(
        by_label=tuple(named[name] for name in labels.names),
        absent=tuple(absent[name] for name in labels.names) if absent else (),
        loosened=tuple(n for n in proven if any(now[n] < then[n] for now, then in pairs if then)),
        raised=tuple(n for n in proven if any(now[n] > then[n] for now, then in pairs if then)),
        id=found,
    )


def id_of_thresholds(by_label: Mapping[str, float], absent: Mapping[str, float]) -> str:
    """Return the id of thresholds that no calibration file has."""
    told = [dict(by_label), dict(absent)] if absent else dict(by_label)
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _named(
    labels: LabelSet, settings: RoutingSettings, proven: Mapping[str, float]
) -> dict[str, float]:
    if not proven:
        every = DEFAULT_THRESHOLD if settings.threshold is None else settings.threshold
        return dict.fromkeys(labels.names, every) | settings.thresholds
    named = {**proven, **settings.thresholds}
    return {name: max(limit, settings.threshold or 0.0) for name, limit in named.items()}
