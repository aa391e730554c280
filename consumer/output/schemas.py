"""The outputs as data types, for readers of the topics and for the JSON Schemas in docs/schemas.

Version 1 remains compatible: fields may be added, so readers must ignore unknown ones; none is
removed and none changes its meaning. Fields without a default are always present, null if unknown;
fields with a default are omitted where they do not apply.
"""

import json
import sys
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from streamlabel.consumer.decode.json_fields import METADATA_LIMIT_BYTES
from streamlabel.consumer.output.appeal import AppealMessage
from streamlabel.consumer.output.verdict import VerdictMessage
from streamlabel.consumer.routing.decision import ReviewReason, Route, ThresholdChange

__all__ = [
    "LabelMessage",
    "ModelPart",
    "ReviewMessage",
    "SourcePart",
    "StagePart",
    "TimingsPart",
    "examples",
    "files",
    "schemas",
]

Probability = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", protected_namespaces=())


class ModelPart(_Part):
    """The model, calibration and thresholds that produced this result."""

    name: str = Field(description="Last part of the model's folder, or its hub id.")
    backend: str = Field(description="Back end, for example encoder, vllm or remote.")
    device: str = Field(description="Device of the model, for example cpu or cuda:0.")
    digest: str = Field(description="Digest of weights, tokenizer and label names.")
    prompt_version: str | None = Field(description="LLM: version of prompt and label tokens.")
    calibration_id: str | None = Field(description="Id of the calibration of the confidences.")
    threshold_set_id: str | None = Field(description="Id of the thresholds for the routes.")
    deployment_id: str | None = Field(
        None,
        description="Id of all models, prompts and thresholds that the service had at that time.",
    )
    threshold_change: ThresholdChange | None = Field(
        None,
        description="How the thresholds differ from those that the calibration chose: tightened, or"
        " loosened, which ends its guarantee.",
    )


class SourcePart(_Part):
    """The position of the input record."""

    topic: str
    partition: int = Field(ge=0)
    offset: int = Field(ge=0)
    timestamp_ms: int = Field(description="Kafka's timestamp of the input record, epoch ms.")


class TimingsPart(_Part):
    """Durations in milliseconds."""

    queue: float = Field(ge=0, description="From reading the record to the start of its batch.")
    inference: float = Field(ge=0, description="Duration of its batch.")


class StagePart(_Part):
    """What one stage of a cascade said."""

    stage: str = Field(description="Name of the stage.")
    model: str = Field(description="Name of its model.")
    label: str | None = Field(
        description="Its most probable label; null without an answer, or if it predicts none."
    )
    confidence: Probability | None = Field(description="Of the label; null without an answer.")
    reasons: list[str] = Field(
        description="Why it was not sure: reasons for review, or of an error; empty if it was sure."
    )


class LabelMessage(_Part):
    """One classified text, on the labels topic. The text itself is not in it."""

    schema_: Literal["streamlabel.label/v1"] = Field(alias="schema")
    id: str = Field(description="The record's own id, else topic-partition-offset.", min_length=1)
    label: str | None = Field(
        description="The most probable predicted label; null without an answer, and in a"
        " multi-label task if no label is predicted (confidence is a number then)."
    )
    confidence: Probability | None = Field(
        description="Probability of the label; of the least certain yes or no in a multi-label"
        " task. Null without an answer."
    )
    probabilities: dict[str, Probability] | None = Field(
        description="By label, calibrated where a calibration is loaded. Null without an answer."
    )
    margin: Probability | None = Field(
        description="Difference to the second most probable label; null in a multi-label task."
    )
    route: Route = Field(description="copy: the same result is on the review topic too.")
    reasons: list[ReviewReason] = Field(description="Reasons for review; empty without review.")
    truncated: bool = Field(description="The model did not see all of the text.")
    model: ModelPart
    source: SourcePart
    metadata: JsonValue = Field(description="Unchanged from the input; null if there was none.")
    processed_at: str = Field(
        description="RFC 3339, UTC.",
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
        json_schema_extra={"format": "date-time"},
    )
    timings_ms: TimingsPart
    task: str | None = Field(None, description="Name of the task, if the stream has several.")
    stage: str | None = Field(
        None, description="Cascade: name of the last stage that was asked about the record."
    )
    stages: list[StagePart] | None = Field(
        None, description="Cascade: what each stage said that was asked, in order."
    )
    labels: list[str] | None = Field(
        None, description="Multi-label task: all labels decided on; may be empty."
    )
    unsure_labels: list[str] | None = Field(
        None,
        description="Multi-label task: labels whose answer, present or absent, is below its"
        " threshold; absent if every answer is sure.",
    )
    raw_probabilities: dict[str, Probability] | None = Field(
        None, description="By label, before calibration, if they differ."
    )
    probabilities_left_out: int | None = Field(
        None,
        gt=0,
        description="With output.probabilities: number of labels, the least probable ones, that are"
        " not in probabilities.",
    )
    prediction_set: list[str] | None = Field(
        None,
        description="Labels that contain the true one at the calibration's coverage rate, over the"
        " records in review.",
    )
    audit_probability: Probability | None = Field(
        None, description="With reason audit: probability of selection for the audit."
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
        None, description="LLM: the first token if it is not a label."
    )
    sum_error: float | None = Field(
        None, description="Prompted LLM: difference of the sum of its scores from 100."
    )
    lenient_reading: str | None = Field(
        None,
        description="Prompted LLM, score_reading lenient: what was accepted in the answer:"
        " thinking, fence, number, separated by commas.",
    )
    after_reasoning: bool | None = Field(
        None,
        description="LLM: true if it reasoned first; its probabilities are those given the"
        " reasoning.",
    )
    reasoning_tokens: int | None = Field(
        None, ge=0, description="LLM: tokens of its reasoning; of several, the longest one's."
    )
    reasoning_cut: bool | None = Field(
        None,
        description="LLM: the reasoning did not end by itself within task.reasoning.max_tokens.",
    )
    unknown_share: Probability | None = Field(
        None,
        description="Fraction of unknown tokens among those of visible characters; absent if the"
        " tokenizer has no unknown token, for example with a fallback to bytes.",
    )
    metadata_dropped: bool = Field(
        False,
        description=f"There was metadata, over {METADATA_LIMIT_BYTES} bytes or too deeply nested.",
    )
    cached: bool = Field(
        False,
        description="The result of an identical text, computed for another record; see repeats.",
    )
    language: str | None = Field(
        None,
        description="Code of the text's language (ISO 639), where a condition of a task needs it;"
        " und if it is unknown.",
    )


class ReviewMessage(LabelMessage):
    """One text for review: the fields of a label, the text, and the threshold."""

    schema_: Literal["streamlabel.review/v1"] = Field(alias="schema")  # type: ignore[assignment]  # narrower on purpose
    threshold: Annotated[float, Field(gt=0, le=1)] | None = Field(
        description="Threshold of the confidence; null without an answer."
    )
    near_duplicate_keys: list[str] | None = Field(
        None,
        description="With output.near_duplicate_keys: texts that share one of these keys are nearly"
        " equal. Equal for equal texts in every process.",
    )
    text: str = Field(description="The text, unchanged.", min_length=1)
    text_truncated: bool = Field(
        False, description="Only the beginning of the text: the topic accepts no larger record."
    )


def schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schemas of our outputs, by file name without its suffix."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {
        "label": dialect | LabelMessage.model_json_schema(),
        "review": dialect | ReviewMessage.model_json_schema(),
        "verdict": dialect | VerdictMessage.model_json_schema(),
        "appeal": dialect | AppealMessage.model_json_schema(),
    }


def examples(name: str) -> list[dict[str, Any]]:
    """Return real messages of a schema: a service and a console have written them."""
    file = resources.files("streamlabel.consumer.output") / "examples" / f"{name}.json"
    found: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    return found


def files() -> dict[str, str]:
    """Return every generated file, by its path in the tree; ``scripts/generate`` writes them.

    The examples are in the files only: a registry compares what it has with ``schemas``.
    """
    return {
        f"docs/schemas/{name}.json": _dumped(schema | {"examples": examples(name)})
        for name, schema in schemas().items()
    }


def _dumped(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _write(root: Path) -> None:
    for name, content in files().items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
