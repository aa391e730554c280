"""The routing decision for one text."""

from typing import Literal

from streamlabel.models.core.values import value

__all__ = ["Decision", "ReviewReason", "Route", "StageAnswer", "ThresholdChange"]

Route = Literal["label", "review", "copy"]

# How thresholds differ from those that a calibration chose. With any looser one: loosened.
ThresholdChange = Literal["tightened", "loosened"]

ReviewReason = Literal[
    "low_confidence",  # below its threshold
    "low_margin",  # too close to the second most probable label
    "off_label",  # LLM: too much probability of answers outside the label set
    "truncated",  # the model did not see all of the text
    "unreadable",  # the tokenizer recognizes nothing of the text, or too little
    "unparseable",  # prompted LLM: its answer could not be parsed
    "reasoning_cut",  # LLM: its reasoning did not end within its budget
    "deadline",  # cascade: a later stage did not answer in time
    "stage_full",  # cascade: too many records waited for a later stage
    "disagreement",  # cascade: two stages reached their thresholds for different labels
    "audit",  # drawn at random, to measure the error rate of accepted records
]


@value
class StageAnswer:
    """What one stage of a cascade said about a text.

    Attributes:
        label: None if it gave no usable answer.
        confidence: in [0, 1]; None without an answer.
        reasons: why it was not sure, or the error; empty if it was.
    """

    stage: str
    model: str
    label: str | None
    confidence: float | None
    reasons: tuple[str, ...]


@value
class Decision:
    """Where a text goes, and why.

    Attributes:
        route: ``label``: the labels topic; ``review``: the review topic; ``copy``: both.
        label: the most probable of ``labels``; None without any, and if the model gave no usable
            answer, which ``confidence`` tells apart.
        labels: the predicted labels, in LabelSet order: one for a single_label task, any number
            for multi_label, none without an answer.
        confidence: in [0, 1], of the prediction; None without an answer.
        margin: in [0, 1], difference to the second most probable label; None for multi_label.
        threshold: the one that ``confidence`` was compared with, in (0, 1]; None without an answer.
        reasons: the ``ReviewReason``s in a fixed order; empty for ``label``.
        probabilities: shape (K,), in LabelSet order, calibrated where a calibration is loaded;
            None without an answer.
        prediction_set: labels that contain the true one at the calibration's coverage rate, most
            probable first; None without a calibration, and for records without review.
        audit_probability: in (0, 1], of being drawn for the audit; None if it was not.
        threshold_set_id: of the thresholds used; None if they have no id.
        stages: of a cascade that were asked, in order; empty without a cascade.
        threshold_change: how they differ from those of the calibration; None: not at all.
        unsure_labels: multi_label: those whose answer, yes or no, is below its threshold, in
            LabelSet order; empty if all are sure.
    """

    route: Route
    label: str | None
    labels: tuple[str, ...]
    confidence: float | None
    margin: float | None
    threshold: float | None
    reasons: tuple[str, ...]
    probabilities: tuple[float, ...] | None = None
    prediction_set: tuple[str, ...] | None = None
    audit_probability: float | None = None
    threshold_set_id: str | None = None
    stages: tuple[StageAnswer, ...] = ()
    threshold_change: ThresholdChange | None = None
    unsure_labels: tuple[str, ...] = ()
