"""What people decide about records in review: the verdict, for the verdicts topic.

Other tools may write verdicts, too. Version 1 remains compatible, as the outputs do: fields may be
added, so readers must ignore unknown ones; none is removed and none changes its meaning.
"""

import math
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from streamlabel.consumer.routing.decision import ReviewReason
from streamlabel.errors import VerdictError

__all__ = ["SCHEMA", "VerdictAppeal", "VerdictMessage", "VerdictSource", "read_verdict"]

SCHEMA: Final = "streamlabel.verdict/v1"

Probability = Annotated[float, Field(gt=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True, strict=True, extra="ignore", protected_namespaces=(), populate_by_name=True
    )


class VerdictSource(_Part):
    """The position of the input record that was classified and reviewed."""

    topic: str
    partition: int = Field(ge=0)
    offset: int = Field(ge=0)


class VerdictAppeal(_Part):
    """The appeal that a verdict answers."""

    appeal_id: str = Field(min_length=1)
    review_id: str = Field(description="Of the decision that was appealed against.", min_length=1)
    outcome: Literal["upheld", "overturned"] | None = Field(
        description="upheld: the labels stay as they were; overturned: they are those of this"
        " verdict. Null: not decided yet."
    )


class VerdictMessage(_Part):
    """What one person decided about one record in review. The text itself is not in it.

    The key of the message is ``review_id``, so that a compacted topic keeps the last verdict of
    each review. A withdrawn verdict is a message without a value (a tombstone).
    """

    schema_: Literal["streamlabel.verdict/v1"] = Field(SCHEMA, alias="schema")
    review_id: str = Field(
        description="Key: the task and id of the review record; a second look adds its number.",
        min_length=1,
    )
    id: str = Field(description="The id of the record in review.", min_length=1)
    task: str | None = Field(None, description="Name of the task, if the stream has several.")
    action: Literal["confirm", "correct", "unsure", "escalate", "skip"] = Field(
        description="confirm: the model's answer; correct: another one; unsure, escalate, skip:"
        " none."
    )
    labels: list[str] | None = Field(
        description="What the person decided; several in a multi-label task, and empty if none"
        " applies there. Null without a decision (unsure, escalate, skip)."
    )
    model_labels: list[str] | None = Field(
        None, description="What the model had decided; null if it gave no usable answer."
    )
    model_confidence: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="Confidence of the model; null without an answer."
    )
    model_probabilities: dict[str, Annotated[float, Field(ge=0, le=1)]] | None = Field(
        None, description="By label, calibrated where a calibration was loaded."
    )
    raw_probabilities: dict[str, Annotated[float, Field(ge=0, le=1)]] | None = Field(
        None, description="By label, before calibration, if they differ."
    )
    saw_model_answer: bool = Field(
        description="Whether the model's answer was shown before the decision."
    )
    reviewer: str = Field(description="Pseudonym of the person.", min_length=1)
    decided_at: str = Field(
        description="RFC 3339, UTC.",
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$",
        json_schema_extra={"format": "date-time"},
    )
    duration_ms: int | None = Field(
        None, ge=0, description="How long the text was shown; null if it is not known."
    )
    has_note: bool = Field(False, description="Whether there is a note. The note is not in it.")
    look: int = Field(1, ge=1, description="1: the first look at the record; 2: a second one.")
    purpose: Literal["review", "audit", "second_look", "gold", "appeal"] = Field(
        "review", description="Why a person was asked. gold: the answer was known before."
    )
    reasons: list[ReviewReason] = Field(
        default_factory=list, description="The reasons of the review record."
    )
    review_probability: Probability | None = Field(
        description="Probability with which the record came to review: 1 if its result led there,"
        " the audit's share if it was drawn. Null if it is not known; then it is used for no"
        " weighted fit."
    )
    deployment_id: str | None = Field(None, description="As in the review record.")
    model_digest: str | None = Field(None, description="As in the review record.")
    calibration_id: str | None = Field(None, description="As in the review record.")
    threshold_set_id: str | None = Field(None, description="As in the review record.")
    source: VerdictSource | None = Field(
        None, description="Position of the input record; null if another tool does not know it."
    )
    appeal: VerdictAppeal | None = Field(
        None, description="With purpose appeal: which one it answers, and how."
    )

    @model_validator(mode="after")
    def _labels_where_decided(self) -> Self:
        decided = self.action in ("confirm", "correct")
        if decided is (self.labels is None):
            what = "needs labels" if decided else "has labels, which say a decision"
            msg = f"action {self.action} {what}"
            raise ValueError(msg)
        return self

    @property
    def weight(self) -> float | None:
        """Inverse of the probability of the review, >= 1; None if that is not known."""
        known = self.review_probability
        return None if known is None or not math.isfinite(1 / known) else 1 / known

    def encoded(self) -> bytes:
        """Return the value of the message: JSON in UTF-8."""
        return self.model_dump_json(by_alias=True).encode()


def read_verdict(value: bytes) -> VerdictMessage:
    """Return the verdict in the value of a message.

    Raises:
        VerdictError: it is none, or of another version. The message names the fields to change,
            without their values.
    """
    try:
        return VerdictMessage.model_validate_json(value)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False)
        text = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'the verdict'}: {fault['msg']}"
            for fault in faults
        )
        raise VerdictError(text) from error
