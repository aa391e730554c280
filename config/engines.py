"""Models that something else runs: vLLM's engine in the worker process, or a remote endpoint."""

from typing import Any, Literal, Self

from pydantic import Field, SecretStr, model_validator

from streamlabel.config.section import Section
from streamlabel.config.task import Task

__all__ = ["RemoteSettings", "VllmSettings"]


class VllmSettings(Section):
    """Any model on vLLM's engine, in the worker process: language models and encoders."""

    backend: Literal["vllm"] = "vllm"
    path: str = Field(description="Model folder, or hub id.", min_length=1)
    revision: str | None = Field(None, description="Hub: commit to pin.")
    mode: Literal["one_token", "head", "prompted", "encoder"] = Field(
        "one_token",
        description="one_token: read the answers' probabilities from the first token; head: the"
        " same without the vocabulary, faster, but off-label mass is unknown; prompted: the model"
        " writes scores; encoder: a BERT-type classifier.",
    )
    task: Task | None = Field(
        None, description="What to ask: a section, or the path of a YAML file. Not for encoder."
    )
    labels: list[str] | None = Field(
        None, description="encoder: names in the order of its outputs; default: its id2label."
    )
    adapter: str | None = Field(
        None, description="one_token, prompted: folder of a LoRA adapter, applied per request."
    )
    chat_template: str | None = Field(
        None, description="Jinja file; default: the template that comes with the tokenizer."
    )
    device: Literal["auto", "npu", "cuda", "cpu"] = Field(
        "auto", description="What vLLM must find here; auto: whatever this vLLM was built for."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Of the weights; auto: bfloat16 on npu and cuda, float32 on cpu."
    )
    fp32_head: bool = Field(
        True,
        description="Compute the last layer in float32: bfloat16 logits allow few confidences."
        " Left off where the platform cannot (Ascend).",
    )
    quantization: str | None = Field(
        None, description="As vLLM names it; default: what the model's config.json says."
    )
    max_tokens: int = Field(
        4096, ge=32, description="Longest prompt with its text; the model's own limit lowers it."
    )
    long_text: Literal["head_tail", "head", "windows", "review"] = Field(
        "head_tail",
        description="Longer texts keep both ends, or the beginning (an encoder: always); windows:"
        " an encoder reads overlapping parts; review: cut, and a person looks.",
    )
    window_stride_tokens: int = Field(64, ge=1, description="encoder: overlap of two windows.")
    window_pool: Literal["mean", "max"] = Field(
        "mean", description="encoder: how the windows' logits become one answer."
    )
    max_windows: int = Field(
        64, ge=1, description="encoder: longer texts keep the first ones, flagged truncated."
    )
    max_num_batched_tokens: int | None = Field(
        None,
        ge=32,
        description="Tokens the engine computes in one step; default: 16384 on cuda, 8192 on npu,"
        " 4096 on cpu. Raise it first: one-token answers are all prefill.",
    )
    max_num_seqs: int | None = Field(
        None, ge=1, description="Requests in one step; default: 1024 on cuda, 256 on npu and cpu."
    )
    gpu_memory_utilization: float = Field(
        0.9, gt=0, le=1, description="npu, cuda: share of the device's memory for the engine."
    )
    kv_cache_gib: float | None = Field(
        None,
        gt=0,
        description="Memory for the prefix cache and running requests; default: 4 on cpu, what"
        " gpu_memory_utilization leaves elsewhere.",
    )
    block_size: int | None = Field(
        None,
        ge=16,
        description="Tokens of a cached block; a shared instruction is cached in whole blocks."
        " default: vLLM's (cuda 16, cpu and npu 128).",
    )
    prefix_caching: bool = Field(
        True, description="Compute the instruction once and share it between texts."
    )
    tensor_parallel: int = Field(1, ge=1, description="Devices that share one model.")
    enforce_eager: bool = Field(
        False, description="No compiling, no graphs: starts faster, runs slower."
    )
    additional_config: dict[str, Any] = Field(
        default_factory=dict, description="Passed to the platform (vllm-ascend) as it is."
    )
    max_in_flight: int = Field(
        8, ge=1, description="Batches given to the engine at the same time; it merges them."
    )
    request_timeout_s: float = Field(
        120.0, gt=0, description="A text without an answer for this long is taken back."
    )
    canary_interval_s: float = Field(
        30.0,
        gt=0,
        description="A fixed text is asked this often: no answer, or another one, and the engine"
        " is replaced.",
    )
    canary_timeout_s: float = Field(
        60.0, gt=0, description="An engine that does not answer the fixed text within this hangs."
    )

    @model_validator(mode="after")
    def _fits_its_mode(self) -> Self:
        if self.mode == "encoder":
            wrong = [name for name in ("task", "adapter") if getattr(self, name) is not None]
            if wrong:
                raise ValueError(f"{wrong[0]}: mode encoder has none; remove it")
        elif self.task is None:
            raise ValueError(f"task: mode {self.mode} needs one; say what to ask")
        elif self.labels is not None:
            raise ValueError(f"labels: mode {self.mode} takes those of the task; remove them")
        elif self.long_text == "windows":
            raise ValueError("long_text: windows are for mode encoder; choose head_tail")
        if self.mode == "head" and self.adapter is not None:
            raise ValueError("adapter: mode head has none; merge it into the model")
        if self.mode == "head" and self.task is not None and self.task.scoring == "trie":
            raise ValueError("task.scoring: mode head needs one_token; or set mode one_token")
        return self

    @model_validator(mode="after")
    def _steps_are_possible(self) -> Self:
        tokens, seqs = self.max_num_batched_tokens, self.max_num_seqs
        if tokens is not None and seqs is not None and tokens < seqs:
            raise ValueError(
                f"max_num_batched_tokens: {tokens} is less than max_num_seqs {seqs}; raise it"
            )
        return self


class RemoteSettings(Section):
    """A model behind an OpenAI-compatible endpoint: vLLM's server, or a hosted one."""

    backend: Literal["remote"] = "remote"
    base_url: str = Field(
        description="Up to and including /v1.", min_length=1, pattern=r"^https?://"
    )
    model: str = Field(description="As the endpoint names it.", min_length=1)
    task: Task = Field(description="What to ask: a section, or the path of a YAML file.")
    api_key: SecretStr | None = Field(None, description="Sent as a bearer token; never logged.")
    method: Literal["one_token", "prompted"] = Field(
        "one_token",
        description="one_token: read the answers from top_logprobs; prompted: the model writes"
        " scores, for endpoints without log-probabilities.",
    )
    top_logprobs: int = Field(
        20, ge=2, le=128, description="one_token: candidates asked for; most endpoints allow 20."
    )
    max_unknown_mass: float = Field(
        0.01,
        gt=0,
        le=0.5,
        description="one_token: a label outside the candidates is only bounded; where that leaves"
        " the confidence uncertain by more than this, a person decides.",
    )
    guided_json: bool = Field(
        True, description="prompted: send the JSON Schema of the answer, if the endpoint takes it."
    )
    token_limit_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="How the endpoint calls the limit of an answer."
    )
    extra_body: dict[str, Any] = Field(
        default_factory=dict,
        description="Added to every request, for example {chat_template_kwargs:"
        " {enable_thinking: false}} for Qwen3 on vLLM.",
    )
    max_text_chars: int = Field(
        20_000, ge=100, description="Longer texts keep both ends of this many characters together."
    )
    long_text: Literal["head_tail", "review"] = Field(
        "head_tail", description="Longer texts: both ends; review: the same, and a person looks."
    )
    concurrency: int = Field(32, ge=1, description="Requests at the same time.")
    max_in_flight: int = Field(4, ge=1, description="Batches at the same time.")
    request_timeout_s: float = Field(60.0, gt=0, description="Of one try.")
    max_tries: int = Field(
        5, ge=1, description="Tries of a text before a fixed one is asked: who is to blame?"
    )
    retry_backoff_s: float = Field(
        0.5, gt=0, description="Wait before the second try; doubles up to 30 s, with jitter."
    )
    outage_timeout_s: float = Field(
        300.0,
        gt=0,
        description="An endpoint that fails on everything for this long ends the service; nothing"
        " is lost. Must be below worker.batch_timeout_s.",
    )
