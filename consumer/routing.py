"""Which way a prediction goes: labels, review, or both. Pure.

The confidence is the probability of the chosen label. For a multi-label task every label is a
decision of its own (yes from 0.5 on), and the confidence is that of the least certain one.
"""

from streamlabel.config.settings import RoutingSettings
from streamlabel.consumer.decision import Decision, Route
from streamlabel.errors import ConfigError
from streamlabel.models.base import Prediction
from streamlabel.models.labels import LabelSet

__all__ = ["Router"]


class Router:
    """Applies thresholds, margins and the model's own doubts.

    Raises:
        ConfigError: a threshold names a label that the model does not have.
    """

    def __init__(self, labels: LabelSet, settings: RoutingSettings) -> None:
        unknown = sorted(set(settings.thresholds) - set(labels.names))
        if unknown:
            raise ConfigError(
                f"routing.thresholds: {', '.join(unknown)}: no such label; the model has"
                f" {', '.join(labels.names)}"
            )
        self._labels = labels
        self._settings = settings
        self._thresholds = tuple(
            settings.thresholds.get(name, settings.threshold) for name in labels.names
        )

    def choose(self, prediction: Prediction) -> Decision:
        """Return the route with every reason for it, in a fixed order."""
        probabilities = prediction.probabilities
        reasons = list(prediction.review_reasons)
        if probabilities is None:
            return Decision("review", None, (), None, None, None, tuple(reasons), None)
        self._add_model_doubts(prediction, reasons)
        if self._labels.problem_type == "multi_label":
            return self._choose_several(probabilities, reasons)
        return self._choose_one(probabilities, reasons)

    def _add_model_doubts(self, prediction: Prediction, reasons: list[str]) -> None:
        mass = prediction.off_label_mass
        is_off = mass is not None and mass > self._settings.max_off_label_mass
        if (is_off or prediction.argmax_is_label is False) and "off_label" not in reasons:
            reasons.append("off_label")
        is_cut = prediction.truncated and self._settings.review_truncated
        if is_cut and "truncated" not in reasons:
            reasons.append("truncated")

    def _choose_one(self, probabilities: tuple[float, ...], reasons: list[str]) -> Decision:
        confidence = max(probabilities)
        chosen = probabilities.index(confidence)
        second = max((p for i, p in enumerate(probabilities) if i != chosen), default=0.0)
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
            threshold,
            tuple(reasons),
            probabilities,
        )

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
            threshold,
            tuple(reasons),
            probabilities,
        )

    def _route(self, reasons: list[str]) -> Route:
        if not reasons:
            return "label"
        return "copy" if self._settings.review == "copy" else "review"
