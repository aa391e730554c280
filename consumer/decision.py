"""What routing decided about one text: the value that travels from routing to the outputs."""

from typing import Literal

from streamlabel.models.values import value

__all__ = ["Decision", "ReviewReason", "Route"]

Route = Literal["label", "review", "copy"]

ReviewReason = Literal[
    "low_confidence",  # below its threshold
    "low_margin",  # too close to the second most probable label
    "off_label",  # LLM: it wanted to say something outside the label set
    "truncated",  # the model did not see all of the text
    "unparseable",  # prompted LLM: its answer could not be read
    "rule",  # the operator's rule
    "audit",  # drawn at random, to measure how good the certain ones are
]


@value
class Decision:
    """Where a text goes, and why.

    Attributes:
        route: ``label``: the labels topic; ``review``: people; ``copy``: both.
        label: the most probable label; None if the model gave no usable answer.
        labels: the labels decided on, in LabelSet order: one for a single_label task, any number
            for multi_label, none without an answer.
        confidence: in [0, 1], of the choice; None without an answer.
        margin: in [0, 1], distance to the second most probable label; None for multi_label.
        threshold: the one that ``confidence`` was held against, in (0, 1]; None without an answer.
        reasons: ``ReviewReason``s, why it is for people, in a fixed order; empty for ``label``.
        probabilities: shape (K,), in LabelSet order, calibrated where a calibration is loaded;
            None without an answer.
        prediction_set: the labels that the true one is among, at the calibration's rate, most
            probable first; None without a calibration, and for texts that nobody looks at.
        audit_probability: in (0, 1], of being drawn for the audit; None if it was not.
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
