"""Decides the route of a prediction: labels, review, or both. Pure.

The confidence is the probability of the predicted label. In a multi-label task every label is a
separate decision (yes from 0.5 on), and the confidence is that of the least certain one; a text
of which every label is a no has no label. A text with an unsure answer goes to review, and says
about which labels it is unsure.
With a calibration the probabilities are the calibrated ones, and so are the thresholds.
"""

from dataclasses import dataclass, replace

from streamlabel.config.settings import RoutingSettings
from streamlabel.consumer.routing.audit import AuditSample
from streamlabel.consumer.routing.decision import Decision, Route, ThresholdChange
from streamlabel.consumer.routing.threshold_set import id_of_thresholds, threshold_set
from streamlabel.models.calibration.calibration import Calibration
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.calibration.prediction_sets import prediction_set
from streamlabel.models.core.classifier import Prediction
from streamlabel.models.core.labels import LabelSet

__all__ = ["RoutingPolicy", "routing_policy"]


@dataclass(frozen=True, slots=True)
class RoutingPolicy:
    """Calibration, thresholds, margins, signs of doubt of the model, and the audit. Immutable.

    Attributes:
        labels: of the model.
        settings: margins, and which signs of doubt count.
        thresholds: in the order of the labels; above 1: never accepted.
        calibration: None: the model's probabilities are published unchanged.
        limits: of prediction sets, in the order of the labels; empty: none are made.
        calibration_id: None without a calibration.
        threshold_set_id: of ``thresholds``; None without a calibration.
        loosened: labels whose threshold in the settings is below that of the calibration.
        raised: labels whose threshold in the settings is above that of the calibration.
        change: of the thresholds in use from those of the calibration, or of the settings if there
            is none; None: there is no change. Every output says so.
        changes: sentences on what differs from the calibration, with what still holds.
        audit: selects accepted records for the audit sample; None: there is none.
        absent: multi_label: thresholds of absent labels; empty: ``thresholds`` is for both answers.
    """

    labels: LabelSet
    settings: RoutingSettings
    thresholds: tuple[float, ...]
    calibration: Calibration | None = None
    limits: tuple[float, ...] = ()
    calibration_id: str | None = None
    threshold_set_id: str | None = None
    loosened: tuple[str, ...] = ()
    raised: tuple[str, ...] = ()
    change: ThresholdChange | None = None
    changes: tuple[str, ...] = ()
    audit: AuditSample | None = None
    absent: tuple[float, ...] = ()

    def decide(self, prediction: Prediction, record_id: str) -> Decision:
        """Return the route of a record: that of ``choose``, unless the audit draws it."""
        decision = self.choose(prediction)
        return decision if self.audit is None else self.audit.applied(decision, record_id)

    def choose(self, prediction: Prediction) -> Decision:
        """Return the route with every reason for it, in a fixed order."""
        probabilities = prediction.probabilities
        if self.calibration is not None:
            probabilities = self.calibration.probabilities(prediction)
        reasons = list(prediction.review_reasons)
        if (
            prediction.unknown_share is not None or prediction.is_unreadable
        ) and self._is_unreadable(prediction):
            reasons.append("unreadable")
        if probabilities is None:
            return Decision(
                "review", None, (), None, None, None, tuple(reasons),
                threshold_set_id=self.threshold_set_id, threshold_change=self.change,
            )  # fmt: skip
        if (
            prediction.truncated
            or prediction.off_label_mass is not None
            or prediction.argmax_is_label is False
        ):
            self._add_model_doubts(prediction, reasons)
        if self.labels.problem_type == "multi_label":
            return self._choose_several(probabilities, reasons)
        return self._choose_one(probabilities, reasons)

    def tightened(self, step: float) -> "RoutingPolicy":
        """Return the policy with thresholds moved towards 1 by the fraction ``step``, in [0, 1)."""
        thresholds, absent = (
            tuple(t if t > 1 else 1 - (1 - t) * (1 - step) for t in each)
            for each in (self.thresholds, self.absent)
        )
        names = self.labels.names
        set_id = id_of_thresholds(
            dict(zip(names, thresholds, strict=True)), dict(zip(names, absent, strict=False))
        )
        change = self.change or "tightened"
        return replace(
            self, thresholds=thresholds, absent=absent, threshold_set_id=set_id, change=change
        )

    def _is_unreadable(self, prediction: Prediction) -> bool:
        share = prediction.unknown_share
        if share is not None and share > self.settings.max_unknown_share:
            return True
        return prediction.is_unreadable and self.settings.review_unreadable

    def _add_model_doubts(self, prediction: Prediction, reasons: list[str]) -> None:
        mass = prediction.off_label_mass
        is_off = mass is not None and mass > self.settings.max_off_label_mass
        if (is_off or prediction.argmax_is_label is False) and "off_label" not in reasons:
            reasons.append("off_label")
        is_cut = prediction.truncated and self.settings.review_truncated
        if is_cut and "truncated" not in reasons:
            reasons.append("truncated")

    def _choose_one(self, probabilities: tuple[float, ...], reasons: list[str]) -> Decision:
        ordered = sorted(probabilities)
        confidence = ordered[-1]
        second = ordered[-2] if len(ordered) > 1 else 0.0
        chosen = probabilities.index(confidence)
        margin = confidence - second
        threshold = self.thresholds[chosen]
        if confidence < threshold:
            reasons.append("low_confidence")
        if margin < self.settings.margin:
            reasons.append("low_margin")
        name = self.labels.names[chosen]
        return Decision(
            self._route(reasons) if reasons else "label",
            name,
            (name,),
            confidence,
            margin,
            threshold if threshold < 1 else 1.0,
            tuple(reasons),
            probabilities,
            self._short_list(probabilities) if reasons else None,
            threshold_set_id=self.threshold_set_id,
            threshold_change=self.change,
        )

    def _short_list(self, probabilities: tuple[float, ...]) -> tuple[str, ...] | None:
        if not self.limits:
            return None
        names = self.labels.names
        return tuple(names[label] for label in prediction_set(probabilities, self.limits))

    def _choose_several(self, probabilities: tuple[float, ...], reasons: list[str]) -> Decision:
        limits = self.thresholds
        if self.absent:
            both = zip(probabilities, limits, self.absent, strict=True)
            limits = tuple(present if p >= 0.5 else absent for p, present, absent in both)
        sureness = [p if p >= 0.5 else 1 - p for p in probabilities]
        slack = [sure - limit for sure, limit in zip(sureness, limits, strict=True)]
        worst = slack.index(min(slack))
        unsure: tuple[str, ...] = ()
        if slack[worst] < 0:
            reasons.append("low_confidence")
            unsure = tuple(
                name for name, left in zip(self.labels.names, slack, strict=True) if left < 0
            )
        chosen = tuple(
            name for name, p in zip(self.labels.names, probabilities, strict=True) if p >= 0.5
        )
        likeliest = self.labels.names[probabilities.index(max(probabilities))]
        threshold = limits[worst]
        return Decision(
            self._route(reasons),
            likeliest if chosen else None,
            chosen,
            sureness[worst],
            None,
            min(threshold, 1.0),
            tuple(reasons),
            probabilities,
            threshold_set_id=self.threshold_set_id,
            threshold_change=self.change,
            unsure_labels=unsure,
        )

    def _route(self, reasons: list[str]) -> Route:
        if not reasons:
            return "label"
        return "copy" if self.settings.review == "copy" else "review"


def routing_policy(
    labels: LabelSet, settings: RoutingSettings, *, calibration: CalibrationFile | None = None
) -> RoutingPolicy:
    """Return the policy of the settings, without an audit.

    Args:
        labels: of the model.
        settings: of its routing; see ``threshold_set`` for what they do to the thresholds.
        calibration: the file that they name, read; None: there is none.

    Raises:
        ConfigError: a threshold names a label that the model does not have.
    """
    found = threshold_set(labels, settings, calibration)
    policy = RoutingPolicy(
        labels,
        settings,
        thresholds=found.by_label,
        threshold_set_id=found.id,
        loosened=found.loosened,
        raised=found.raised,
        change="loosened" if found.loosened else "tightened" if found.raised else None,
        absent=found.absent,
    )
    if calibration is None:
        return policy
    limits: tuple[float, ...] = ()
    sets = calibration.prediction_sets
    if sets is not None and labels.problem_type == "single_label":
        limits = tuple(sets.limits[name] for name in labels.names)
    mapping = calibration.calibration
    return replace(
        policy,
        calibration=None if mapping.is_identity else mapping,
        limits=limits,
        calibration_id=calibration.id,
    )
