"""The settings of a language model's chat template, shared by the back ends that render one."""

from datetime import date
from typing import Any, Final, Self

from pydantic import Field, model_validator

from streamlabel.config.named_model import NamedModel
from streamlabel.config.places import FileName
from streamlabel.config.presets import PresetName, with_preset

__all__ = ["ChatSettings"]

# Variables that are set when a prompt is rendered.
_RESERVED: Final = frozenset({"messages", "add_generation_prompt", "strftime_now", "tokenize"})


class ChatSettings(NamedModel):
    """A model with a chat template."""

    preset: PresetName | None = Field(
        None,
        description="Guard model of a known kind: brings its task, prompt and answers in place of"
        " model.task. `streamlabel presets` lists them.",
    )
    chat_template: FileName | None = Field(
        None, description="Path of a Jinja chat template. Default: the tokenizer's own template."
    )
    chat_template_kwargs: dict[str, Any] = Field(
        default_factory=dict,
        description="Variables for the chat template, for example {enable_thinking: false}, which"
        " is the default where a template has it.",
    )
    chat_date: date | None = Field(
        None,
        description="Date that the chat template gets as today's, for templates that write a date"
        " into the prompt (Llama 3.2, gpt-oss). Any fixed date: with the current one, the prompt,"
        " and with it the calibration, would be another one every day.",
    )

    @model_validator(mode="before")
    @classmethod
    def _of_preset(cls, given: Any) -> Any:  # noqa: ANN401 whatever was given
        return with_preset(given) if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _variables_are_free(self) -> Self:
        taken = sorted(_RESERVED & {*self.chat_template_kwargs})
        if taken:
            instead = "set chat_date" if taken[0] == "strftime_now" else "remove it"
            raise ValueError(
                f"chat_template_kwargs: {taken[0]} is set when a prompt is rendered; {instead}"
            )
        return self
