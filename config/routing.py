"""The settings of routing between labels and review, and of drift detection."""

from typing import Annotated, Literal

from pydantic import Field

from streamlabel.config.places import FileName
from streamlabel.config.section import Section

__all__ = ["DEFAULT_THRESHOLD", "DriftSettings", "RoutingSettings"]

# Of every label, if neither a calibration nor the settings have one.
DEFAULT_THRESHOLD = 0.5

Threshold = Annotated[float, Field(gt=0, le=1)]


class RoutingSettings(Section):
    """Which labels are accepted and which records go to review."""

    threshold: Threshold | None = Field(
        None,
        description="Minimum confidence to accept a label. Records below it go to review. Default:"
        " 0.5 without a calibration. Beside the thresholds of a calibration it is a lower limit for"
        " all of them: it sends more to review, never less.",
    )
    thresholds: dict[str, Threshold] = Field(
        default_factory=dict,
        description="Minimum confidence by label; overrides threshold, and the thresholds of a"
        " calibration: a lower value than theirs ends its guarantee, which a warning and every"
        " output say.",
    )
    margin: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Minimum difference between the probabilities of the two most probable"
        " labels. Records below it go to review.",
    )
    max_off_label_mass: Threshold = Field(
        0.5,
        description="Language models: records go to review if the model gives more probability"
        " than this to answers that are not labels.",
    )
    review_truncated: bool = Field(
        False, description="Send records to review if their text was truncated."
    )
    review_unreadable: bool = Field(
        True,
        description="Send records to review if the tokenizer recognizes nothing in their text:"
        " every token is the unknown token, or there are no tokens (for example emoji"
        " or Thai with an English vocabulary).",
    )
    max_unknown_share: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Send records to review if a larger fraction than this of their tokens is"
        " unknown. 1 turns this off.",
    )
    review: Literal["divert", "copy"] = Field(
        "divert",
        description="Where records below the threshold go. divert: to the review topic only;"
        " copy: to both the labels topic and the review topic.",
    )
    calibration: FileName | None = Field(
        None,
        description="File written by `streamlabel calibrate`, with calibrated probabilities and"
        " thresholds. Changes of its thresholds: threshold raises them all, thresholds replaces"
        " them by label.",
    )
    audit_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Fraction of the accepted records that is also sent to review as an audit"
        " sample, selected by a keyed hash of the id; see audit.key.",
    )


class DriftSettings(Section):
    """Drift detection: compares windows of traffic with the calibration data."""

    window_items: int = Field(
        2000,
        ge=0,
        description="Number of results per comparison. Requires routing.calibration. 0 turns"
        " drift detection off.",
    )
    significance: float = Field(
        0.001,
        gt=0,
        lt=1,
        description="Significance level: the probability that a window without drift is reported"
        " as drift.",
    )
    min_label_shift: float = Field(
        0.2,
        ge=0,
        description="Minimum population stability index of the label distribution that counts as"
        " drift.",
    )
    min_distance: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Minimum Kolmogorov-Smirnov distance of confidences or text lengths that"
        " counts as drift.",
    )
    tighten: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="When drift is detected, raise every threshold by this fraction of its"
        " distance to 1 (0.5 turns 0.8 into 0.9) until the service restarts. 0 leaves"
        " the thresholds as they are.",
    )
