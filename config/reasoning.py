"""Models that reason before they answer: how long, how often, and where the answer begins."""

from typing import Literal, Self

from pydantic import Field, model_validator

from streamlabel.config.section import Section

__all__ = ["ReasoningSettings", "refuse_reasoning"]


class ReasoningSettings(Section):
    """Reasoning before the answer."""

    max_tokens: int = Field(
        512,
        ge=1,
        description="Maximum tokens of reasoning. A longer one is ended there, the answer is read"
        " all the same, and the output says so (reasoning_cut).",
    )
    end: str = Field(
        "</think>\n\n",
        min_length=1,
        description="Text that ends the reasoning, up to the place where the answer begins. It"
        " starts with a control token of the model, at which the reasoning is over. For gpt-oss:"
        " '<|end|><|start|>assistant<|channel|>final<|message|>'.",
    )
    begin: str = Field(
        "",
        description="Text that is put into the model's mouth to start the reasoning, where the chat"
        " template does not. For gpt-oss: '<|channel|>analysis<|message|>'.",
    )
    samples: int = Field(
        1,
        ge=1,
        le=64,
        description="Number of reasonings for each text; the probabilities of the labels are their"
        " mean. One is greedy; several are sampled, with fixed seeds on vLLM with an accelerator.",
    )
    temperature: float | None = Field(
        None,
        gt=0,
        le=2,
        description="Temperature of several samples. Default: 0.6.",
    )
    when_cut: Literal["accept", "review"] = Field(
        "accept",
        description="What happens to a record whose reasoning was cut. accept: it is routed by its"
        " confidence; review: it goes to review with the reason reasoning_cut.",
    )

    @model_validator(mode="after")
    def _is_sampled(self) -> Self:
        if self.temperature is not None and self.samples == 1:
            raise ValueError(
                "temperature: one reasoning is greedy, so this would have no effect; remove it, or"
                " set samples"
            )
        return self

    @property
    def heat(self) -> float:
        """The temperature that is used; 0 means greedy."""
        return 0.0 if self.samples == 1 else self.temperature or 0.6


def refuse_reasoning(reasoning: ReasoningSettings | None, where: str, section: str = "") -> None:
    """Refuse reasoning for a back end or a mode that reads the first token.

    Args:
        reasoning: of the task.
        where: the back end or mode, for the message.
        section: in which the setting is, as the validator that calls this sees it.

    Raises:
        ValueError: there is one; the message begins with the setting.
    """
    if reasoning is not None:
        raise ValueError(
            f"{section}reasoning: {where} cannot read an answer after reasoning; use backend vllm"
            " in mode one_token, or remote with method one_token and vLLM's server"
        )
