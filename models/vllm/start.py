"""Starts vLLM's engine with explicit limits, as its defaults depend on how it is started."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamlabel.config.engines import VllmSettings
from streamlabel.errors import ConfigError, ModelLoadError
from streamlabel.foreign import first_line
from streamlabel.models.core.classifier import BatchHints, ModelIdentity
from streamlabel.models.devices.device import library_versions
from streamlabel.models.devices.npu import load_npu
from streamlabel.models.devices.torch_import import autoload
from streamlabel.models.files.checkpoint import Checkpoint
from streamlabel.models.files.trained_length import length_details
from streamlabel.models.label_scoring.taught_prompt import tuned_folders
from streamlabel.models.vllm.adapter import adapter_rank, adapter_request
from streamlabel.models.vllm.own_forward import OwnForward, start_own_forward
from streamlabel.models.vllm.plain_forward import Asked, Question
from streamlabel.models.vllm.platform import Capabilities, find_capabilities, limits
from streamlabel.models.vllm.runtime import TOP_K, VllmRuntime
from streamlabel.models.vllm.start_failure import Start, explain
from streamlabel.models.vllm.stderr_tail import StderrTail

__all__ = ["Engine", "Plan", "dtype_of", "prepare_environment", "start_engine"]


@dataclass(frozen=True, slots=True)
class Plan:
    """The purpose for which an engine is started.

    Attributes:
        max_model_len: maximum length of a row with the tokens that are generated after it.
        is_pooling: it computes the logits of a head and generates no tokens.
        needs_whole_rows: a row must be computed in one step (encoders).
        overrides: for the model's config.json.
        question: on which the engine is compared with the model's own forward pass.
    """

    max_model_len: int
    question: Question
    is_pooling: bool = False
    needs_whole_rows: bool = False
    overrides: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Engine:
    """A running engine with its properties.

    Attributes:
        block_tokens: block size of the prefix cache; 0 if there is none.
        step_tokens: maximum tokens of one step.
        own: the model's own forward pass, to be compared with the engine's.
    """

    runtime: VllmRuntime
    own: OwnForward
    capabilities: Capabilities
    dtype: str
    block_tokens: int
    step_tokens: int
    details: dict[str, str]

    def require_label_ids(self, what: str, *, remedy: str) -> None:
        """Raise ConfigError, ``what`` needs it, unless it reads probabilities by token id."""
        if not self.capabilities.label_ids:
            raise ConfigError(
                f"{what} an engine that reads tokens by id, and this one cannot; {remedy}"
            )

    def close(self) -> None:
        """End its processes; blocks."""
        self.own.close()
        self.runtime.close()

    def identity(
        self,
        checkpoint: Checkpoint,
        *,
        digest: str,
        prompt_version: str | None = None,
        details: dict[str, str],
    ) -> ModelIdentity:
        """Return the identity for every output record."""
        names = ("torch", "torch_npu", "transformers", "tokenizers", "vllm-ascend")
        return ModelIdentity(
            name=checkpoint.name,
            backend="vllm",
            device=self.capabilities.platform,
            dtype=self.dtype,
            digest=digest,
            prompt_version=prompt_version,
            versions={"vllm": self.capabilities.version} | library_versions(*names),
            details=self.details | details,
        )

    def hints(self, *, max_in_flight: int, max_tokens: int) -> BatchHints:
        """Return how its batches should be formed; the engine schedules them token by token."""
        return BatchHints(
            max_in_flight=max_in_flight,
            batch_tokens=self.step_tokens,
            max_tokens=max_tokens,
            pads=False,
        )


def prepare_environment(device: str) -> None:
    """Set vLLM's environment variables before its first import; those already set are kept.

    Raises:
        ConfigError: ``device`` is an NPU, and torch_npu is missing or cannot be imported.
    """
    if load_npu(device):
        autoload()  # the engine computes in separate processes
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # no usage reports
    os.environ.setdefault("VLLM_CONFIGURE_LOGGING", "0")  # its log lines go through our logging


def dtype_of(settings: VllmSettings, capabilities: Capabilities) -> str:
    """Return the dtype of the weights, and log it; the checkpoint's is not used silently."""
    if settings.dtype != "auto":
        return settings.dtype
    return "float32" if capabilities.platform == "cpu" else "bfloat16"


def start_engine(settings: VllmSettings, checkpoint: Checkpoint, plan: Plan) -> Engine:
    """Start the engine's processes and load the model; blocks for tens of seconds.

    Raises:
        ConfigError: a setting does not fit the platform.
        ModelLoadError: the engine does not start.
    """
    prepare_environment(settings.device)
    capabilities = find_capabilities(settings)
    arguments = _arguments(settings, checkpoint, plan, capabilities)
    weights, free_bytes = checkpoint.weights().size_bytes, _free_bytes()
    start = Start(weights, arguments["kv_cache_memory_bytes"], free_bytes)
    dtype = str(arguments["dtype"])
    asked = Asked(
        question=plan.question,
        checkpoint=checkpoint,
        dtype=dtype,
        adapter=settings.adapter,
        fp32_head=plan.is_pooling or "head_dtype" in arguments["hf_overrides"],
    )
    on_host = capabilities.platform == "cpu"  # the engine takes the same memory
    taken = weights + (start.kv_cache_bytes or 0) if on_host else 0
    own = start_own_forward(settings, asked, engine_bytes=taken, free_bytes=free_bytes)
    try:
        engine = _started(arguments, start, capabilities)
    except BaseException:
        own.close()
        raise
    runtime = VllmRuntime(
        engine,
        reads_by_id=capabilities.label_ids,
        timeout_s=settings.request_timeout_s,
        adapter=adapter_request(settings.adapter),
    )
    cache = engine.vllm_config.cache_config
    details = {
        name: str(arguments[name])
        for name in ("max_model_len", "max_num_batched_tokens", "max_num_seqs")
    }
    return Engine(
        runtime=runtime,
        own=own,
        capabilities=capabilities,
        dtype=dtype,
        block_tokens=int(cache.block_size) if cache.enable_prefix_caching else 0,
        step_tokens=int(arguments["max_num_batched_tokens"]),
        details=capabilities.details
        | details
        | {"mode": settings.mode, "runner": _runner(engine.vllm_config)}
        | length_details(tuned_folders(checkpoint.folder, settings.adapter))
        | ({"adapter": Path(settings.adapter).name} if settings.adapter else {}),
    )


def _started(arguments: dict[str, Any], start: Start, capabilities: Capabilities) -> Any:  # noqa: ANN401 untyped library
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    with StderrTail() as stderr:
        try:
            return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))
        # vLLM raises these for every problem, from a wrong file to too little memory.
        except (RuntimeError, ValueError, OSError, ImportError) as error:
            why = explain(first_line(error), stderr.last_words(), start)
            raise ModelLoadError(f"{why} (vLLM {capabilities.version})") from error


def _free_bytes() -> int:
    """Return the memory that a process may take, as Linux estimates it; vLLM runs nowhere else."""
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024


def _arguments(
    settings: VllmSettings, checkpoint: Checkpoint, plan: Plan, capabilities: Capabilities
) -> dict[str, Any]:
    limit = limits(settings, capabilities.platform)
    dtype = dtype_of(settings, capabilities)
    overrides = dict(plan.overrides)
    # The pooling runner computes heads in float32 in any case.
    if settings.fp32_head and capabilities.fp32_head and not plan.is_pooling and dtype != "float32":
        overrides["head_dtype"] = "float32"
    tokens = limit.max_num_batched_tokens
    arguments: dict[str, Any] = {
        "model": str(checkpoint.folder),
        "dtype": dtype,
        "max_model_len": plan.max_model_len,
        "max_num_batched_tokens": max(tokens, plan.max_model_len)
        if plan.needs_whole_rows
        else tokens,
        "max_num_seqs": limit.max_num_seqs,
        "gpu_memory_utilization": settings.gpu_memory_utilization,
        "kv_cache_memory_bytes": limit.kv_cache_bytes,
        "block_size": settings.block_size,
        "enable_prefix_caching": settings.prefix_caching and not plan.needs_whole_rows,
        "tensor_parallel_size": settings.tensor_parallel,
        "enforce_eager": settings.enforce_eager,
        "quantization": settings.quantization,
        "additional_config": settings.additional_config,
        "hf_overrides": overrides,
        "trust_remote_code": False,
        "disable_log_stats": True,
        "generation_config": "vllm",  # ignore the checkpoint's penalties and temperature
        "logprobs_mode": "raw_logprobs",  # over the whole vocabulary, before any mask
        "seed": 0,
    }
    if plan.is_pooling:
        arguments |= {"runner": "pooling", "convert": "classify"}
    elif not capabilities.label_ids:
        arguments["max_logprobs"] = TOP_K
    if settings.adapter is not None:
        arguments |= {
            "enable_lora": True,
            "max_loras": 1,
            "max_lora_rank": adapter_rank(Path(settings.adapter).expanduser()),
        }
    return arguments


def _runner(config: Any) -> str:  # noqa: ANN401 untyped library
    return "v2" if getattr(config, "use_v2_model_runner", False) else "v1"
