"""The outputs as data types, for readers of the topics and for the JSON Schemas in docs/schemas.

Version 1 stays readable: fields may be added, so readers ignore what they do not know; none is
removed and none changes its meaning. Fields without a default are always there, null where
nothing is known; fields with a default are left out where they do not apply.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from streamlabel.consumer.decision import ReviewReason, Route
from streamlabel.consumer.json_fields import METADATA_LIMIT_BYTES

__all__ = [
    "LabelMessage",
    "ModelPart",
    "ReviewMessage",
    "SourcePart",
    "TimingsPart",
    "files",
    "schemas",
]

Probability = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", protected_namespaces=())


class ModelPart(_Part):
    """Which model and which decisions of the operator are behind this result."""

    name: str = Field(description="A folder's last part or a hub id.")
    backend: str = Field(description="encoder, generative, vllm, prompted, remote or fake.")
    device: str = Field(description="For example cpu or cuda:0.")
    digest: str = Field(description="Of weights, tokenizer and label names: equal, same model.")
    prompt_version: str | None = Field(description="LLM: of the prompt and the label tokens.")
    calibration_id: str | None = Field(description="Of the calibration behind the confidences.")
    threshold_set_id: str | None = Field(description="Of the thresholds behind the routes.")


class SourcePart(_Part):
    """Where the input record stands."""

    topic: str
    partition: int = Field(ge=0)
    offset: int = Field(ge=0)
    timestamp_ms: int = Field(description="Kafka's timestamp of the input record, epoch ms.")


class TimingsPart(_Part):
    """Where the time went, in milliseconds."""

    queue: float = Field(ge=0, description="From read to taken by a free worker.")
    inference: float = Field(ge=0, description="Of the batch it was in.")


class LabelMessage(_Part):
    """One classified text, on the labels topic. The text itself is not in it."""

    schema_: Literal["streamlabel.label/v1"] = Field(alias="schema")
    id: str = Field(description="The record's own id, else topic-partition-offset.", min_length=1)
    label: str | None = Field(description="The most probable label; null without an answer.")
    confidence: Probability | None = Field(
        description="Probability of the label; of the least certain yes or no in a multi-label"
        " task. Null without an answer."
    )
    probabilities: dict[str, Probability] | None = Field(
        description="By label, calibrated where a calibration is loaded. Null without an answer."
    )
    margin: Probability | None = Field(
        description="Distance to the second most probable label; null in a multi-label task."
    )
    route: Route = Field(description="copy: the same result is on the review topic too.")
    reasons: list[ReviewReason] = Field(description="Why it is for people; empty if it is not.")
    truncated: bool = Field(description="The model did not see all of the text.")
    model: ModelPart
    source: SourcePart
    metadata: JsonValue = Field(description="As it came in; null if there was none.")
    processed_at: str = Field(
        description="RFC 3339, UTC.",
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
        json_schema_extra={"format": "date-time"},
    )
    timings_ms: TimingsPart
    task: str | None = Field(None, description="Its name, where one stream has several.")
    labels: list[str] | None = Field(
        None, description="Multi-label task: all labels decided on; may be empty."
    )
    raw_probabilities: dict[str, Probability] | None = Field(
        None, description="By label, before calibration, where that changed them."
    )
    prediction_set: list[str] | None = Field(
        None, description="The labels that the true one is among, at the promised rate."
    )
    audit_probability: Probability | None = Field(
        None, description="With reason audit: the rate at which such records were drawn."
    )
    off_label_mass: Probability | None = Field(
        None, description="LLM: probability of tokens outside the label set."
    )
    argmax_is_label: bool | None = Field(
        None, description="LLM: whether the most probable first token belongs to a label."
    )
    first_token_probability: Probability | None = Field(
        None, description="LLM: probability of the first generated token."
    )
    off_label_token: str | None = Field(
        None, description="LLM: the first token where it is no label."
    )
    sum_error: float | None = Field(
        None, description="Prompted LLM: distance of the sum of its scores from 100."
    )
    metadata_dropped: bool = Field(
        False,
        description=f"There was metadata, over {METADATA_LIMIT_BYTES} bytes or too deeply nested.",
    )


class ReviewMessage(LabelMessage):
    """One text for people: everything a label says, the text, and the threshold it missed."""

    schema_: Literal["streamlabel.review/v1"] = Field(alias="schema")  # type: ignore[assignment]  # narrower on purpose
    threshold: Annotated[float, Field(gt=0, le=1)] | None = Field(
        description="What the confidence was held against; null without an answer."
    )
    text: str = Field(description="As it came in.", min_length=1)
    text_truncated: bool = Field(
        False, description="Only the beginning of the text: the topic takes no larger record."
    )


def schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schemas of what we write, by file name without its suffix."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {
        "label": dialect | LabelMessage.model_json_schema(),
        "review": dialect | ReviewMessage.model_json_schema(),
    }


def files() -> dict[str, str]:
    """Return every generated file, by its path in the tree; ``scripts/generate`` writes them."""
    return {
        f"docs/schemas/{name}.json": json.dumps(schema, indent=2) + "\n"
        for name, schema in schemas().items()
    }


def _write(root: Path) -> None:
    for name, content in files().items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
