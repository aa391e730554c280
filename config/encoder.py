"""The settings of an encoder that this process computes, and of its texts."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from streamlabel.config.conversations import pairs_problem
from streamlabel.config.encoder_presets import EncoderPresetName, with_encoder_preset
from streamlabel.config.named_model import NamedModel

__all__ = ["Device", "EncoderSettings"]

Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?|npu(:\d+)?)$")]


class EncoderSettings(NamedModel):
    """A BERT-type encoder: any AutoModelForSequenceClassification folder or hub model."""

    backend: Literal["encoder"] = "encoder"
    preset: EncoderPresetName | None = Field(
        None,
        description="Moderation model of a known kind: brings problem_type, names of unnamed"
        " labels, and how long texts are read. `streamlabel presets` lists them.",
    )
    device: Device = Field(
        "auto", description="Device to use. auto: the first of npu, cuda and cpu that is available."
    )
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = Field(
        "float32",
        description="Data type of matrix products; probabilities are always computed in float32."
        " auto: the precision of routing.calibration; without it bfloat16 if the device"
        " is faster in it and a test at start shows that every probability stays within 0.02"
        " of the float32 result, on the texts given to calibrate, evaluate and"
        " classify, else on random tokens.",
    )
    threads: int | None = Field(
        None, ge=1, description="Number of CPU threads. Default: one per core."
    )
    problem_type: Literal["auto", "single_label", "multi_label"] = Field(
        "auto",
        description="Whether a text has exactly one label or any number of labels. auto:"
        " problem_type of the model's config.json.",
    )
    labels: list[str] | None = Field(
        None,
        description="Label names in the order of the model's outputs. Default: id2label of the"
        " model's config.json.",
    )
    max_tokens: int | None = Field(
        None,
        ge=8,
        description="Maximum tokens of a text, special tokens included. Default: the model's own"
        " limit.",
    )
    long_text: Literal["truncate", "windows", "review"] = Field(
        "truncate",
        description="What happens to a text over max_tokens. truncate: cut it and flag the"
        " output; windows: classify overlapping windows and combine them; review: cut"
        " it and send the record to review.",
    )
    window_stride_tokens: int = Field(
        64, ge=1, description="long_text windows: tokens that two neighbouring windows share."
    )
    window_pool: Literal["mean", "max"] = Field(
        "mean", description="long_text windows: how the logits of the windows are combined."
    )
    max_windows: int = Field(
        64,
        ge=1,
        description="long_text windows: maximum windows of a text. The rest of a longer text is"
        " dropped and the output is flagged truncated.",
    )
    conversations: bool = Field(
        False,
        description="Texts are conversations, as input.messages_path makes them. Two turns are a"
        " pair, encoded as the tokenizer joins two texts; one turn is a single text. Roles have no"
        " effect. Special tokens in any turn stay text. A pair over max_tokens loses the end of its"
        " longer text first.",
    )
    more_turns: Literal["refuse", "join"] = Field(
        "refuse",
        description="What happens to a conversation of more than two turns. refuse: the record is a"
        " dead letter; join: all turns but the last, with a line break between them, are the first"
        " text of the pair.",
    )

    @model_validator(mode="after")
    def _pairs_are_whole(self) -> Self:
        if problem := pairs_problem(
            takes=self.conversations, windows=self.long_text == "windows", more=self.more_turns
        ):
            raise ValueError(problem)
        return self

    @model_validator(mode="before")
    @classmethod
    def _of_preset(cls, given: Any) -> Any:  # noqa: ANN401 whatever was given
        return with_encoder_preset(given) if isinstance(given, dict) else given
