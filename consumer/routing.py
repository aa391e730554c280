"""Which way a prediction goes: labels, review, or both. Pure.

The confidence is the probability of the chosen label. For a multi-label task every label is a
decision of its own (yes from 0.5 on), and the confidence is that of the least certain one.
With a calibration the probabilities are the calibrated ones, and so are the thresholds.
"""

import hashlib
import json

from streamlabel.config.settings import RoutingSettings
from streamlabel.consumer.decision import Decision, Route
from streamlabel.errors import ConfigError
from streamlabel.models.base import Prediction
from streamlabel.models.calibration import Calibration
from streamlabel.models.calibration_file import CalibrationFile
from streamlabel.models.conformal import prediction_set
from streamlabel.models.labels import LabelSet

__all__ = ["Router"]


class Router:
    """Applies calibration, thresholds, margins and the model's own doubts.

    Attributes:
        calibration_id: None without a calibration.
        threshold_set_id: of the thresholds in force; None without a calibration.
        loosened: labels whose threshold in the settings is below that of the calibration.

    Raises:
        ConfigError: a threshold names a label that the model does not have.
    """

    def __init__(
        self,
        labels: LabelSet,
        settings: RoutingSettings,
        *,
        calibration: CalibrationFile | None = None,
    ) -> None:
        unknown = sorted(set(settings.thresholds) - set(labels.names))
        if unknown:
            raise ConfigError(
                f"routing.thresholds: {', '.join(unknown)}: no such label; the model has"
                f" {', '.join(labels.names)}"
            )
        self._labels = labels
        self._settings = settings
        own = dict.fromkeys(labels.names, settings.threshold)
        proven = {} if calibration is None else calibration.limits
        thresholds = own | proven | settings.thresholds
        self._thresholds = tuple(thresholds[name] for name in labels.names)
        self.loosened = tuple(name for name in proven if thresholds[name] < proven[name])
        self._calibration = Calibration(labels.problem_type)
        self._limits: tuple[float, ...] = ()
        self.calibration_id: str | None = None
        self.threshold_set_id: str | None = None
        if calibration is not None:
            self._calibration = calibration.calibration
            self.calibration_id = calibration.id
            self.threshold_set_id = (
                calibration.threshold_set_id if thresholds == proven else self._thresholds_id()
            )
            if calibration.conformal is not None and labels.problem_type == "single_label":
                limits = calibration.conformal.limits
                self._limits = tuple(limits[name] for name in labels.names)
        self._is_calibrated = not self._calibration.is_identity

    def choose(self, prediction: Prediction) -> Decision:
        """Return the route with every reason for it, in a fixed order."""
        probabilities = prediction.probabilities
        if self._is_calibrated:
            probabilities = self._calibration.probabilities(prediction)
        reasons = list(prediction.review_reasons)
        if probabilities is None:
            return Decision("review", None, (), None, None, None, tuple(reasons), None)
        self._add_model_doubts(prediction, reasons)
        if self._labels.problem_type == "multi_label":
            return self._choose_several(probabilities, reasons)
        return self._choose_one(probabilities, reasons)

    def tighten(self, step: float) -> None:
        """Move every threshold by ``step``, in [0, 1), of its way to 1."""
        self._thresholds = tuple(t if t > 1 else 1 - (1 - t) * (1 - step) for t in self._thresholds)
        self.threshold_set_id = self._thresholds_id()

    def _thresholds_id(self) -> str:
        named = dict(zip(self._labels.names, self._thresholds, strict=True))
        return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:16]

    def _add_model_doubts(self, prediction: Prediction, reasons: list[str]) -> None:
        mass = prediction.off_label_mass
        is_off = mass is not None and mass > self._settings.max_off_label_mass
        if (is_off or prediction.argmax_is_label is False) and "off_label" not in reasons:
            reasons.append("off_label")
        is_cut = prediction.truncated and self._settings.review_truncated
        if is_cut and "truncated" not in reasons:
            reasons.append("truncated")

    def _choose_one(self, probabilities: tuple[float, ...], reasons: list[str]) -> Decision:
        second, confidence = (0.0, *sorted(probabilities))[-2:]
        chosen = probabilities.index(confidence)
        margin = confidence - second
        threshold = self._thresholds[chosen]
        if confidence < threshold:
            reasons.append("low_confidence")
        if margin < self._settings.margin:
            reasons.append("low_margin")
        name = self._labels.names[chosen]
        return Decision(
            self._route(reasons),
            name,
            (name,),
            confidence,
            margin,
            min(threshold, 1.0),
            tuple(reasons),
            probabilities,
            self._short_list(probabilities) if reasons else None,
        )

    def _short_list(self, probabilities: tuple[float, ...]) -> tuple[str, ...] | None:
        if not self._limits:
            return None
        names = self._labels.names
        return tuple(names[label] for label in prediction_set(probabilities, self._limits))

    def _choose_several(self, probabilities: tuple[float, ...], reasons: list[str]) -> Decision:
        sureness = [max(p, 1 - p) for p in probabilities]
        slack = [sure - limit for sure, limit in zip(sureness, self._thresholds, strict=True)]
        worst = slack.index(min(slack))
        if slack[worst] < 0:
            reasons.append("low_confidence")
        chosen = tuple(
            name for name, p in zip(self._labels.names, probabilities, strict=True) if p >= 0.5
        )
        best = self._labels.names[probabilities.index(max(probabilities))]
        threshold = self._thresholds[worst]
        return Decision(
            self._route(reasons),
            best,
            chosen,
            sureness[worst],
            None,
            min(threshold, 1.0),
            tuple(reasons),
            probabilities,
        )

    def _route(self, reasons: list[str]) -> Route:
        if not reasons:
            return "label"
        return "copy" if self._settings.review == "copy" else "review"
