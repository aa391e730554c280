"""The settings of models on vLLM, which runs in the worker process, and of remote endpoints."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from streamlabel.config.chat import ChatSettings
from streamlabel.config.places import FileName
from streamlabel.config.policies import refuse_unasked_policies
from streamlabel.config.reasoning import refuse_reasoning
from streamlabel.config.remote import RemoteSettings
from streamlabel.config.task import Task

__all__ = ["RemoteSettings", "VllmSettings"]


class VllmSettings(ChatSettings):
    """A language model or an encoder on vLLM, in the worker process."""

    backend: Literal["vllm"] = "vllm"
    mode: Literal["one_token", "head", "prompted", "encoder"] = Field(
        "one_token",
        description="How the model classifies. one_token: read the probability of each answer at"
        " the first generated token; head: compute the answers' logits only, which is"
        " faster but leaves the off-label mass unknown; prompted: the model writes a"
        " score for every label; encoder: a BERT-type classifier.",
    )
    task: Task | None = Field(
        None,
        description="The classification task (labels, definitions, instruction): a section, or"
        " the path of a YAML file. Not used in mode encoder.",
    )
    labels: list[str] | None = Field(
        None,
        description="Mode encoder: label names in the order of the model's outputs. Default:"
        " id2label of the model's config.json.",
    )
    adapter: FileName | None = Field(
        None,
        description="Modes one_token and prompted: folder of a LoRA adapter, applied to every"
        " request.",
    )
    device: Literal["auto", "npu", "cuda", "cpu"] = Field(
        "auto",
        description="Device that vLLM must use; the service does not start if vLLM finds another"
        " one. auto: the device that the installed vLLM was built for.",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Data type of the weights. auto: bfloat16 on npu and cuda, float32 on cpu.",
    )
    fp32_head: bool = Field(
        True,
        description="Compute the output layer in float32, because bfloat16 logits are too coarse"
        " for confidences. Ignored on platforms that do not support it (Ascend).",
    )
    quantization: str | None = Field(
        None,
        description="Quantization method, by vLLM's name. Default: the one in the model's"
        " config.json.",
    )
    max_tokens: int = Field(
        4096,
        ge=32,
        description="Maximum tokens of a prompt, text included. The model's own limit applies if"
        " it is lower.",
    )
    long_text: Literal["head_tail", "head", "windows", "review"] = Field(
        "head_tail",
        description="What happens to a text over max_tokens. head_tail: keep the beginning and"
        " the end; head: keep the beginning (mode encoder always does); windows: mode"
        " encoder reads overlapping windows; review: truncate, and send the record to"
        " review.",
    )
    window_stride_tokens: int = Field(
        64,
        ge=1,
        description="Mode encoder, long_text windows: tokens that two neighbouring windows share.",
    )
    window_pool: Literal["mean", "max"] = Field(
        "mean",
        description="Mode encoder, long_text windows: how the logits of the windows are combined.",
    )
    max_windows: int = Field(
        64,
        ge=1,
        description="Mode encoder, long_text windows: maximum windows of a text. The rest of a"
        " longer text is dropped and the output is flagged truncated.",
    )
    max_num_batched_tokens: int | None = Field(
        None,
        ge=32,
        description="Maximum tokens that the engine computes in one step. Default: 16384 on cuda,"
        " 8192 on npu, 4096 on cpu. Raise this first to increase throughput:"
        " one-token answers consist of prefill only.",
    )
    max_num_seqs: int | None = Field(
        None,
        ge=1,
        description="Maximum requests in one engine step. Default: 1024 on cuda, 256 on npu and"
        " cpu.",
    )
    gpu_memory_utilization: float = Field(
        0.9,
        gt=0,
        le=1,
        description="Fraction of the device memory that the engine may use (npu and cuda).",
    )
    kv_cache_gib: float | None = Field(
        None,
        gt=0,
        description="GiB for the KV cache: cached prefixes and running requests. Default: 4 on"
        " cpu; elsewhere the memory that remains under gpu_memory_utilization.",
    )
    block_size: int | None = Field(
        None,
        ge=16,
        description="Tokens in a block of the KV cache; a shared instruction is cached in whole"
        " blocks. Default: vLLM's (16 on cuda, 128 on cpu and npu).",
    )
    prefix_caching: bool = Field(
        True, description="Cache the instruction: compute it once and reuse it for every text."
    )
    tensor_parallel: int = Field(
        1, ge=1, description="Number of devices that the model is split across."
    )
    enforce_eager: bool = Field(
        False,
        description="Disable compilation and graph capture: the engine starts faster and runs"
        " slower.",
    )
    additional_config: dict[str, Any] = Field(
        default_factory=dict,
        description="Options passed unchanged to the vLLM platform plugin (vllm-ascend).",
    )
    max_in_flight: int = Field(
        8,
        ge=1,
        description="Maximum batches submitted to the engine at the same time; the engine merges"
        " them.",
    )
    request_timeout_s: float = Field(
        120.0,
        gt=0,
        description="A request without an answer after this time is cancelled and its text fails.",
    )
    own_forward: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Compare eight prompts with the model's own forward pass (transformers, on the"
        " CPU, while the engine starts), and refuse to start if a probability differs. auto: if"
        " the memory suffices and transformers can compute the model, else start with a"
        " warning; always: else refuse to start; never: do not compare.",
    )
    canary_interval_s: float = Field(
        30.0,
        gt=0,
        description="Interval between health checks, which classify a fixed text. If there is no"
        " answer, or the answer differs from the first one, the engine is restarted.",
    )
    canary_timeout_s: float = Field(
        60.0, gt=0, description="The engine is restarted if a health check takes longer than this."
    )

    @model_validator(mode="after")
    def _fits_its_mode(self) -> Self:
        if self.mode == "encoder":
            names = (
                "preset",
                "task",
                "adapter",
                "chat_template",
                "chat_date",
                "chat_template_kwargs",
            )
            wrong = [name for name in names if getattr(self, name)]
            if wrong:
                raise ValueError(f"{wrong[0]}: not supported by mode encoder; remove it")
        elif self.task is None:
            raise ValueError(f"task: required by mode {self.mode}; set it")
        elif self.labels is not None:
            raise ValueError(
                f"labels: mode {self.mode} takes the labels of the task; remove this setting"
            )
        elif self.long_text == "windows":
            raise ValueError("long_text: windows requires mode encoder; choose head_tail")
        if self.mode == "head" and self.adapter is not None:
            raise ValueError("adapter: not supported by mode head; merge it into the model")
        if self.mode == "head" and self.task is not None and self.task.scoring == "trie":
            raise ValueError(
                "task.scoring: mode head supports one_token only; set one_token, or mode one_token"
            )
        return self

    @model_validator(mode="after")
    def _asks_what_its_mode_can(self) -> Self:
        if self.task is not None and self.mode != "one_token":
            refuse_unasked_policies(self.task.policies, f"mode {self.mode}", "task.")
            refuse_reasoning(self.task.reasoning, f"mode {self.mode}", "task.")
        return self

    @model_validator(mode="after")
    def _steps_are_possible(self) -> Self:
        tokens, seqs = self.max_num_batched_tokens, self.max_num_seqs
        if tokens is not None and seqs is not None and tokens < seqs:
            raise ValueError(
                f"max_num_batched_tokens: {tokens} is less than max_num_seqs {seqs}; raise it"
            )
        return self
