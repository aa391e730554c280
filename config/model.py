"""Which model classifies, and how: one section per back end, told apart by ``backend``."""

from typing import Annotated, Literal

from pydantic import Field

from streamlabel.config.section import Section

__all__ = ["EncoderSettings", "FakeSettings", "ModelSettings", "WorkerSettings"]

Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?|npu(:\d+)?)$")]


class WorkerSettings(Section):
    """The process that owns the device."""

    load_timeout_s: float = Field(600.0, gt=0, description="Loading the model may take this long.")
    batch_timeout_s: float = Field(
        600.0, gt=0, description="A batch without an answer for this long: the worker is killed."
    )
    max_restarts: int = Field(
        5, ge=0, description="Restarts within restart_window_s before the service gives up."
    )
    restart_window_s: float = Field(300.0, gt=0, description="See max_restarts.")
    restart_backoff_s: float = Field(
        0.5, gt=0, description="Wait before the first restart; doubles up to 30 s."
    )


class EncoderSettings(Section):
    """A BERT-type encoder: any AutoModelForSequenceClassification folder or hub id."""

    backend: Literal["encoder"] = "encoder"
    path: str = Field(description="Model folder, or hub id.", min_length=1)
    revision: str | None = Field(None, description="Hub: commit to pin.")
    device: Device = Field("auto", description="auto picks npu, then cuda, then cpu.")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="Of the weights; probabilities are always computed in float32."
    )
    threads: int | None = Field(None, ge=1, description="CPU threads; default: all cores.")
    problem_type: Literal["auto", "single_label", "multi_label"] = Field(
        "auto", description="auto reads the model's own problem_type."
    )
    labels: list[str] | None = Field(
        None, description="Names in the order of the model's outputs; default: its id2label."
    )
    max_tokens: int | None = Field(
        None, ge=8, description="Longest row, special tokens included; default: the model's own."
    )
    long_text: Literal["truncate", "windows", "review"] = Field(
        "truncate",
        description="Longer texts: cut and flag, read as overlapping windows, or send to review.",
    )
    window_stride_tokens: int = Field(64, ge=1, description="Overlap of two windows.")
    window_pool: Literal["mean", "max"] = Field(
        "mean", description="How the windows' logits become one answer."
    )
    max_windows: int = Field(
        64, ge=1, description="Longer texts keep the first ones and are flagged truncated."
    )


class FakeSettings(Section):
    """No model: a fixed function of the text, for trying out delivery and for load tests."""

    backend: Literal["fake"] = "fake"
    labels: list[str] = Field(["a", "b", "c"], min_length=2, description="Names.")
    batch_s: float = Field(0.0, ge=0, description="Time one batch takes.")
    token_s: float = Field(0.0, ge=0, description="Time one padded token takes.")
    fail_on: str | None = Field(
        None, description="Texts that contain this raise an error, as a poison text would."
    )
    crash_on: str | None = Field(
        None, description="Texts that contain this kill the worker process."
    )


ModelSettings = Annotated[EncoderSettings | FakeSettings, Field(discriminator="backend")]
