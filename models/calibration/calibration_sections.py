"""The sections of a calibration file."""

from typing import Annotated, Literal

from pydantic import Field

from streamlabel.config.section import Section
from streamlabel.models.calibration.calibration import MAX_TEMPERATURE, MIN_TEMPERATURE
from streamlabel.models.core.labels import ProblemType

__all__ = [
    "BothAnswers",
    "Conformal",
    "Evidence",
    "Fact",
    "FittedOn",
    "LabelGuarantee",
    "LabelOutcome",
    "Mapped",
    "MissedLimit",
    "PrecisionUsed",
    "PredictionSets",
    "ProvenCascade",
    "ProvenStage",
    "ProvenUnder",
    "Reference",
    "ReviewRules",
    "StricterStep",
    "Threshold",
    "Thresholds",
]

# Value of a setting, as the configuration has it.
Fact = bool | int | float | str | None

Probability = Annotated[float, Field(ge=0, le=1)]
Threshold = Annotated[float, Field(gt=0, le=1)]


class FittedOn(Section):
    """The model whose scores were calibrated."""

    name: str
    backend: str
    digest: str
    prompt_version: str | None = None
    device: str
    dtype: str
    labels: list[str] = Field(min_length=1)
    problem_type: ProblemType


class Mapped(Section):
    """How scores become probabilities; by label where it differs by label."""

    method: str
    temperature: float = Field(1.0, ge=MIN_TEMPERATURE, le=MAX_TEMPERATURE)
    bias: dict[str, float] = Field(default_factory=dict)
    slopes: dict[str, float] = Field(default_factory=dict)
    offsets: dict[str, float] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)


class Thresholds(Section):
    """Minimum confidence to accept a label; null: the label always goes to review."""

    chosen_by: Literal["promise", "budget", "costs", "cascade"]
    by_label: dict[str, Threshold | None]
    target_error: float | None = None
    bound: Probability
    confidence: Probability
    summary: str
    pooled: list[list[str]] = Field(default_factory=list)


class Conformal(Section):
    """Version 1 of the file: limits that were fitted to all texts. They are not used."""

    miss_rate: Probability
    limits: dict[str, Probability]


class PredictionSets(Section):
    """How improbable a label may be and still be on a reviewer's list."""

    miss_rate: Probability
    limits: dict[str, Probability]
    reviewed: int = Field(ge=0, description="Texts in review that the limits are fitted to.")


class Reference(Section):
    """Statistics of the calibration data; later traffic is compared with them."""

    items: int = Field(ge=1)
    labels: dict[str, int]
    confidence_quantiles: list[Probability] = Field(min_length=2)
    length_quantiles: list[float] = Field(min_length=2)


class Evidence(Section):
    """The data that the calibration was fitted to, and its effect on held-out texts."""

    made_on: str = Field(description="Date, UTC.")
    items: int = Field(ge=1)
    by_label: dict[str, int]
    log_loss_before: float
    log_loss_after: float
    versions: dict[str, str] = Field(default_factory=dict)


class ReviewRules(Section):
    """The settings of routing that send texts to review whatever their confidence is."""

    margin: Probability
    max_off_label_mass: Probability
    max_unknown_share: Probability
    review_truncated: bool
    review_unreadable: bool


class ProvenUnder(Section):
    """The settings with which the labelled texts were classified, and thresholds were tested."""

    predictions: dict[str, Fact] = Field(description="Settings that change predictions, by name.")
    review: ReviewRules


class PrecisionUsed(Section):
    """The precision in which the labelled texts were classified, beside ``model.dtype``."""

    exact_layers: int | None = Field(
        None, description="Layers in float32; null: the back end does not say."
    )
    tolerance: Probability | None = Field(
        None,
        description="Largest difference of a probability from that in float32; null: not known.",
    )


class LabelOutcome(Section):
    """What the thresholds did to the labelled texts of one label; counts, not guarantees."""

    texts: int = Field(ge=0, description="With this true label.")
    predicted: int = Field(ge=0, description="Texts that the model gave this label.")
    accepted: int = Field(ge=0, description="Of those predicted, without review.")
    wrong: int = Field(ge=0, description="Of those accepted, with another true label.")
    missed: int = Field(ge=0, description="With this true label, accepted without it.")


class MissedLimit(Section):
    """A guarantee that few texts of a label are accepted without it."""

    target: Probability
    confidence: Probability
    floor: float = Field(ge=0, description="Minimum confidence of labels that would miss it.")
    texts: int = Field(ge=0)
    missed: int = Field(ge=0, description="Of these texts, at the floor.")


class LabelGuarantee(Section):
    """Multi-label: in few accepted texts the answer about a label is wrong."""

    target_error: float = Field(gt=0, lt=1)
    accepted: int = Field(ge=0, description="Of the labelled texts.")
    wrong: int = Field(ge=0, description="Of those, with a wrong answer about the label.")


class StricterStep(Section):
    """Multi-label: thresholds of all labels whose tests passed, too."""

    by_label: dict[str, Threshold | None]
    absent: dict[str, Threshold | None]


class BothAnswers(Section):
    """Multi-label: what is special to the two answers about each label.

    The thresholds of ``thresholds`` are then those of a label that is present.
    """

    absent: dict[str, Threshold | None] = Field(
        description="Minimum probability that a label is absent, to take it as absent; null: such"
        " an answer is always unsure."
    )
    guarantees: dict[str, LabelGuarantee] = Field(
        default_factory=dict,
        description="By label; all hold together with the confidence of the thresholds. A label"
        " that is not here has none.",
    )
    stricter: list[StricterStep] = Field(
        default_factory=list,
        description="Thresholds that are proven, too, from loose to strict: for `streamlabel"
        " monitor`.",
    )

    @property
    def complete(self) -> list[dict[str, float | None]]:
        """The mappings that have a value for every label."""
        steps = [part for step in self.stricter for part in (step.by_label, step.absent)]
        return [self.absent, *steps]


class ProvenStage(Section):
    """A stage of a cascade whose thresholds were tested together."""

    name: str
    digest: str = Field(description="Of its model.")
    mapping: str = Field(description="Digest of the mapping from its scores to probabilities.")
    labels: dict[str, str] = Field(description="Its labels by those of the last stage.")
    threshold: Threshold | None = Field(description="null: it accepts nothing.")
    price: float = Field(gt=0)
    decides: Probability = Field(description="Share of the labelled texts that it decided.")


class ProvenCascade(Section):
    """A guarantee for what all stages of a cascade accept together, in the file of each stage.

    It holds for these stages in this order, each with its own file of the same run.
    """

    stage: str = Field(description="The one that the file is for.")
    stages: list[ProvenStage] = Field(min_length=2)
    target_error: Probability
    confidence: Probability
    texts: int = Field(ge=1)
    accepted: int = Field(ge=0, description="Of the texts, by all stages together.")
    wrong: int = Field(ge=0, description="Of those accepted.")
    review_price: float = Field(gt=0)
    cost: float = Field(ge=0, description="Mean cost of a text, in the unit of the prices.")
