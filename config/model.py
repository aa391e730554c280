"""Which model classifies, and how: one section per back end, selected by ``backend``."""

from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import (
    Field,
    SerializeAsAny,
    TypeAdapter,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from streamlabel.config import installed
from streamlabel.config.chat import ChatSettings
from streamlabel.config.encoder import Device, EncoderSettings
from streamlabel.config.engines import RemoteSettings, VllmSettings
from streamlabel.config.places import FileName
from streamlabel.config.reasoning import refuse_reasoning
from streamlabel.config.remote import ScoreReading
from streamlabel.config.section import Section
from streamlabel.config.task import OneQuestionTask, Task
from streamlabel.errors import ConfigError

__all__ = [
    "BACKENDS",
    "AnyModel",
    "CausalSettings",
    "EncoderSettings",
    "FakeSettings",
    "GenerativeSettings",
    "ModelSettings",
    "PromptedSettings",
    "RemoteSettings",
    "VllmSettings",
    "or_installed",
]


class CausalSettings(ChatSettings):
    """A language model with a chat template, run by transformers in the worker process."""

    task: Task = Field(
        description="The classification task (labels, definitions, instruction): a section, or"
        " the path of a YAML file."
    )
    adapter: FileName | None = Field(None, description="Folder of a LoRA adapter. Requires peft.")
    device: Device = Field(
        "auto", description="Device to use. auto: the first of npu, cuda and cpu that is available."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Data type of the weights. auto: bfloat16 on npu and cuda, float32 on cpu.",
    )
    fp32_head: bool = Field(
        True,
        description="Compute the output layer in float32, because bfloat16 logits are too coarse"
        " for confidences. Takes vocabulary size x hidden size x 4 bytes more memory"
        " unless dtype is float32.",
    )
    threads: int | None = Field(
        None, ge=1, description="Number of CPU threads. Default: one per core."
    )
    max_tokens: int = Field(
        4096,
        ge=32,
        description="Maximum tokens of a prompt, text included. The model's own limit applies if"
        " it is lower.",
    )
    long_text: Literal["head_tail", "head", "review"] = Field(
        "head_tail",
        description="What happens to a text over max_tokens. head_tail: keep the beginning and"
        " the end; head: keep the beginning; review: as head_tail, and send the"
        " record to review. Only the text is cut, never the instruction.",
    )

    @model_validator(mode="after")
    def _answers_at_once(self) -> Self:
        refuse_reasoning(self.task.reasoning, "transformers", "task.")
        return self


class GenerativeSettings(CausalSettings):
    """One-token answers: the probability of each answer is read at the first generated token."""

    backend: Literal["generative"] = "generative"
    reuse_prefix: bool = Field(
        True, description="Cache the instruction: compute it once and reuse it for every text."
    )


class PromptedSettings(CausalSettings):
    """Prompted scores: the model writes a JSON object with an integer score for every label."""

    backend: Literal["prompted"] = "prompted"
    task: OneQuestionTask = Field(description="The classification task, without policies.")
    score_reading: ScoreReading = "strict"


class FakeSettings(Section):
    """No model: labels by a checksum of the text, for load tests and for trying out delivery."""

    backend: Literal["fake"] = "fake"
    labels: list[str] = Field(["a", "b", "c"], min_length=2, description="Label names.")
    batch_s: float = Field(0.0, ge=0, description="Simulated computing time per batch.")
    token_s: float = Field(0.0, ge=0, description="Simulated computing time per padded token.")
    fail_on: str | None = Field(None, description="Texts that contain this string raise an error.")
    crash_on: str | None = Field(
        None, description="Texts that contain this string crash the worker process."
    )
    lose_device_on: str | None = Field(
        None,
        description="Texts that contain this string simulate the loss of the device, as a CUDA"
        " assertion does.",
    )
    hang_on: str | None = Field(
        None, description="Texts that contain this string hang: they are never answered."
    )
    reject_on: str | None = Field(
        None, description="Texts that contain this string fail in preparation (tokenization)."
    )
    oom_over_tokens: int | None = Field(
        None,
        ge=1,
        description="Batches with more padded tokens than this simulate running out of device"
        " memory.",
    )
    max_in_flight: int = Field(1, ge=1, description="Maximum batches in progress at the same time.")


ModelSettings = Annotated[
    EncoderSettings
    | GenerativeSettings
    | PromptedSettings
    | VllmSettings
    | RemoteSettings
    | FakeSettings,
    Field(discriminator="backend"),
]

# The names of the built-in back ends.
BACKENDS: Final[tuple[str, ...]] = tuple(
    section.model_fields["backend"].default for section in get_args(get_args(ModelSettings)[0])
)


def or_installed(value: Any, ours: ValidatorFunctionWrapHandler) -> Any:  # noqa: ANN401 any value
    """Validate the section ``model``: by ``ours``, or by the back end of another distribution.

    Raises:
        ValueError: that back end is broken, or has the name of a built-in one.
        ValidationError: a setting is unknown or invalid.
    """
    given = isinstance(value, dict)
    name = value.get("backend") if given else getattr(value, "backend", None)
    if not isinstance(name, str):
        return ours(value)
    try:
        if name in BACKENDS:
            installed.refuse_own("back end", name)
            return ours(value)
        if name not in installed.names("back end"):
            return ours(value)
        section = installed.find("back end", name).settings
    except ConfigError as error:
        raise ValueError(f"backend: {error}") from error
    # A union, so that errors name the back end in the same way as built-in ones.
    either: Any = Annotated[FakeSettings | section, Field(discriminator="backend")]
    return TypeAdapter(either).validate_python(value)


# The section of a model: of a built-in back end, or of one that another distribution registers.
AnyModel = Annotated[SerializeAsAny[ModelSettings], WrapValidator(or_installed)]
