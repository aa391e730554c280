"""Which model classifies, and how: one section per back end, told apart by ``backend``."""

from typing import Annotated, Literal

from pydantic import Field

from streamlabel.config.engines import RemoteSettings, VllmSettings
from streamlabel.config.section import Section
from streamlabel.config.task import Task

__all__ = [
    "CausalSettings",
    "EncoderSettings",
    "FakeSettings",
    "GenerativeSettings",
    "ModelSettings",
    "PromptedSettings",
    "RemoteSettings",
    "VllmSettings",
    "WorkerSettings",
]

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
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = Field(
        "float32",
        description="Of the products; probabilities are always computed in float32. auto: bfloat16"
        " where the device is fast in it and a test at start says that every probability stays"
        " within 0.02 of float32's.",
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


class CausalSettings(Section):
    """A language model with a chat template, run by transformers in the worker process."""

    path: str = Field(description="Model folder, or hub id.", min_length=1)
    task: Task = Field(description="What to ask: a section, or the path of a YAML file.")
    revision: str | None = Field(None, description="Hub: commit to pin.")
    adapter: str | None = Field(None, description="Folder of a LoRA adapter (needs peft).")
    chat_template: str | None = Field(
        None, description="Jinja file; default: the template that comes with the tokenizer."
    )
    device: Device = Field("auto", description="auto picks npu, then cuda, then cpu.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Of the weights; auto: bfloat16 on npu and cuda, float32 on cpu."
    )
    fp32_head: bool = Field(
        True,
        description="Compute the last layer in float32: bfloat16 logits allow few confidences."
        " Costs vocabulary x hidden x 4 bytes where dtype is not float32.",
    )
    threads: int | None = Field(None, ge=1, description="CPU threads; default: all cores.")
    max_tokens: int = Field(
        4096, ge=32, description="Longest prompt with its text; the model's own limit lowers it."
    )
    long_text: Literal["head_tail", "head", "review"] = Field(
        "head_tail",
        description="Longer texts keep both ends, or the beginning; review: both ends, and a"
        " person looks. Only the text is cut, never the instruction.",
    )
    reuse_prefix: bool = Field(
        True, description="Compute the instruction once and share it between texts."
    )


class GenerativeSettings(CausalSettings):
    """One-token answers: the probabilities of the answers are read from the first token."""

    backend: Literal["generative"] = "generative"


class PromptedSettings(CausalSettings):
    """Prompted scores: the model writes one JSON object with an integer for every class."""

    backend: Literal["prompted"] = "prompted"
    engine: Literal["transformers"] = Field("transformers", description="What runs the model.")


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
    hang_on: str | None = Field(None, description="Texts that contain this are never answered.")
    reject_on: str | None = Field(
        None, description="Texts that contain this cannot be prepared; their neighbours can."
    )
    oom_over_tokens: int | None = Field(
        None, ge=1, description="More padded tokens in a batch: out of device memory."
    )
    max_in_flight: int = Field(1, ge=1, description="Batches it takes at the same time.")


ModelSettings = Annotated[
    EncoderSettings
    | GenerativeSettings
    | PromptedSettings
    | VllmSettings
    | RemoteSettings
    | FakeSettings,
    Field(discriminator="backend"),
]
