"""The settings of models behind an OpenAI-compatible endpoint."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, model_validator

from streamlabel.config.places import FileName
from streamlabel.config.reasoning import refuse_reasoning
from streamlabel.config.section import Section
from streamlabel.config.task import OneQuestionTask

__all__ = ["RemoteSettings", "ScoreReading"]


ScoreReading = Annotated[
    Literal["strict", "lenient"],
    Field(
        description="How a written answer with scores is read. strict: one JSON object of integers"
        " and nothing else; lenient: also in one code fence, after a closed <think> block, and with"
        ' integers as 60.0 or "60". The output says so (lenient_reading).'
    ),
]


class RemoteSettings(Section):
    """A model behind an OpenAI-compatible endpoint: vLLM's server, or a hosted one."""

    backend: Literal["remote"] = "remote"
    base_url: str = Field(
        description="Base URL of the endpoint, up to and including /v1.",
        min_length=1,
        pattern=r"^https?://",
    )
    model: str = Field(description="Name of the model at the endpoint.", min_length=1)
    task: OneQuestionTask = Field(
        description="The classification task (labels, definitions, instruction): a section, or"
        " the path of a YAML file."
    )
    api_key: SecretStr | None = Field(
        None, description="API key, sent as a bearer token; never logged."
    )
    method: Literal["one_token", "prompted"] = Field(
        "one_token",
        description="How the model classifies. one_token: read the answers from top_logprobs;"
        " prompted: the model writes a score for every label, for endpoints without"
        " log-probabilities.",
    )
    top_logprobs: int = Field(
        20,
        ge=2,
        le=128,
        description="Method one_token: number of candidate tokens to request; most endpoints"
        " allow up to 20.",
    )
    max_unknown_mass: float = Field(
        0.01,
        gt=0,
        le=0.5,
        description="Method one_token: for a label outside the returned candidates only an upper"
        " bound of its probability is known. If this makes the confidence uncertain"
        " by more than this value, the record goes to review.",
    )
    guided_json: bool = Field(
        True,
        description="Method prompted: send the JSON Schema of the answer. Set false if the"
        " endpoint rejects it.",
    )
    score_reading: ScoreReading = "strict"
    token_limit_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="Name of the request field that limits the length of an answer."
    )
    chat_template_kwargs: dict[str, Any] = Field(
        default_factory=dict,
        description="Variables for the chat template, which the endpoint renders, for example"
        " {enable_thinking: false}; for endpoints that accept the field of this name, as vLLM's"
        " server does.",
    )
    extra_body: dict[str, Any] = Field(
        default_factory=dict, description="Fields added to every request."
    )
    max_text_chars: int = Field(
        20_000,
        ge=100,
        description="Maximum characters of a text. A longer one keeps its beginning and its end,"
        " this many characters in total.",
    )
    tokenizer: FileName | None = Field(
        None,
        description="tokenizer.json of the endpoint's model, or the folder that contains it. With"
        " it, texts can be cut by tokens, answers are checked at start, and texts of which the"
        " model sees nothing are recognised.",
    )
    max_text_tokens: int | None = Field(
        None,
        ge=16,
        description="Maximum tokens of a text, without the prompt; requires tokenizer. A longer"
        " one keeps its beginning and its end. Default: no limit but max_text_chars.",
    )
    long_text: Literal["head_tail", "review"] = Field(
        "head_tail",
        description="What happens to a text over max_text_chars or max_text_tokens. head_tail:"
        " keep the beginning and the end; review: the same, and send the record to review.",
    )
    concurrency: int = Field(32, ge=1, description="Maximum concurrent requests to the endpoint.")
    max_in_flight: int = Field(4, ge=1, description="Maximum batches in progress at the same time.")
    request_timeout_s: float = Field(60.0, gt=0, description="Timeout of one request.")
    max_tries: int = Field(
        5,
        ge=1,
        description="Attempts per text before a fixed text is sent to find out whether the text"
        " or the endpoint is at fault.",
    )
    retry_backoff_s: float = Field(
        0.5, gt=0, description="Delay before the second attempt; doubles up to 30 s, with jitter."
    )
    outage_timeout_s: float = Field(
        300.0,
        gt=0,
        description="The service stops if every request has failed for this long; no record is"
        " lost. Must be less than worker.batch_timeout_s.",
    )

    @model_validator(mode="after")
    def _fields_are_given_once(self) -> Self:
        if self.chat_template_kwargs and "chat_template_kwargs" in self.extra_body:
            raise ValueError(
                "extra_body: it contains chat_template_kwargs, which is a setting of its own;"
                " remove one of them"
            )
        return self

    @model_validator(mode="after")
    def _reads_what_is_written(self) -> Self:
        if self.score_reading != "strict" and self.method != "prompted":
            raise ValueError(
                "score_reading: method one_token reads no written answer; remove it, or set method:"
                " prompted"
            )
        return self

    @model_validator(mode="after")
    def _answers_at_once(self) -> Self:
        if self.method != "one_token":
            refuse_reasoning(self.task.reasoning, f"method {self.method}", "task.")
        return self

    @model_validator(mode="after")
    def _tokens_can_be_counted(self) -> Self:
        if self.max_text_tokens is not None and self.tokenizer is None:
            raise ValueError(
                "max_text_tokens: tokens can only be counted with the model's tokenizer; set"
                " tokenizer, or limit max_text_chars"
            )
        return self

    @property
    def body(self) -> dict[str, Any]:
        """Fields added to every request."""
        variables = self.chat_template_kwargs
        return self.extra_body | ({"chat_template_kwargs": variables} if variables else {})
