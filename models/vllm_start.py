"""Starts vLLM's engine with every limit said: its own defaults depend on how it was started."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from streamlabel.config.engines import VllmSettings
from streamlabel.errors import ConfigError, ModelLoadError
from streamlabel.models.base import ModelInfo
from streamlabel.models.checkpoint import Checkpoint
from streamlabel.models.devices import library_versions
from streamlabel.models.vllm_platform import Capabilities, find_capabilities, limits
from streamlabel.models.vllm_runtime import TOP_K, VllmRuntime

__all__ = ["Engine", "Plan", "dtype_of", "prepare_environment", "start_engine"]

# What vLLM takes as the largest rank of an adapter.
_RANKS: Final = (8, 16, 32, 64, 128, 256, 320, 512)
_ADAPTER_ID: Final = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """What an engine is started for.

    Attributes:
        max_model_len: longest row with what is generated behind it.
        is_pooling: it computes a head's logits, and no tokens.
        needs_whole_rows: a row is computed in one step (encoders).
        overrides: for the model's config.json.
    """

    max_model_len: int
    is_pooling: bool = False
    needs_whole_rows: bool = False
    overrides: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Engine:
    """A running engine and what it is.

    Attributes:
        block_tokens: unit of the prefix cache; 0 if there is none.
        step_tokens: what it computes at once.
    """

    runtime: VllmRuntime
    capabilities: Capabilities
    dtype: str
    block_tokens: int
    step_tokens: int
    details: dict[str, str]

    def info(
        self,
        checkpoint: Checkpoint,
        *,
        digest: str,
        max_tokens: int,
        prompt_version: str | None = None,
        details: dict[str, str],
    ) -> ModelInfo:
        """Return what goes into every output."""
        names = ("torch", "torch_npu", "transformers", "tokenizers", "vllm-ascend")
        return ModelInfo(
            name=checkpoint.name,
            backend="vllm",
            device=self.capabilities.platform,
            dtype=self.dtype,
            digest=digest,
            max_tokens=max_tokens,
            pads=False,
            batch_tokens=self.step_tokens,
            prompt_version=prompt_version,
            versions={"vllm": self.capabilities.version} | library_versions(*names),
            details=self.details | details,
        )


def prepare_environment() -> None:
    """Say before vLLM's first import what it may do; what the operator has set stays."""
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # nothing is reported to anybody
    os.environ.setdefault("VLLM_CONFIGURE_LOGGING", "0")  # its log lines go through ours


def dtype_of(settings: VllmSettings, capabilities: Capabilities) -> str:
    """Return the dtype of the weights; never the checkpoint's in silence."""
    if settings.dtype != "auto":
        return settings.dtype
    return "float32" if capabilities.platform == "cpu" else "bfloat16"


def start_engine(settings: VllmSettings, checkpoint: Checkpoint, plan: Plan) -> Engine:
    """Start the engine's processes and load the model; blocks for tens of seconds.

    Raises:
        ConfigError: a setting does not fit the platform.
        ModelLoadError: the engine does not start.
    """
    prepare_environment()
    capabilities = find_capabilities(settings)
    arguments = _arguments(settings, checkpoint, plan, capabilities)
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    try:
        engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))
    # vLLM raises these for everything from a wrong file to too little memory.
    except (RuntimeError, ValueError, OSError, ImportError) as error:
        raise ModelLoadError(
            f"model.path: vLLM {capabilities.version} cannot start {checkpoint.name}:"
            f" {_sentence(error)}; its log lines say more"
        ) from error
    runtime = VllmRuntime(
        engine,
        reads_by_id=capabilities.label_ids,
        timeout_s=settings.request_timeout_s,
        adapter=_adapter_request(settings),
    )
    cache = engine.vllm_config.cache_config
    details = {
        name: str(arguments[name])
        for name in ("max_model_len", "max_num_batched_tokens", "max_num_seqs")
    }
    return Engine(
        runtime=runtime,
        capabilities=capabilities,
        dtype=str(arguments["dtype"]),
        block_tokens=int(cache.block_size) if cache.enable_prefix_caching else 0,
        step_tokens=int(arguments["max_num_batched_tokens"]),
        details=capabilities.details
        | details
        | {"mode": settings.mode, "runner": _runner(engine.vllm_config)}
        | ({"adapter": Path(settings.adapter).name} if settings.adapter else {}),
    )


def _arguments(
    settings: VllmSettings, checkpoint: Checkpoint, plan: Plan, capabilities: Capabilities
) -> dict[str, Any]:
    limit = limits(settings, capabilities.platform)
    dtype = dtype_of(settings, capabilities)
    overrides = dict(plan.overrides)
    # The pooling runner's heads are float32 anyway.
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
        "generation_config": "vllm",  # none of the checkpoint's penalties and temperatures
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
            "max_lora_rank": _rank(Path(settings.adapter).expanduser()),
        }
    return arguments


def _rank(folder: Path) -> int:
    try:
        rank = int(json.loads((folder / "adapter_config.json").read_bytes())["r"])
        return next(allowed for allowed in _RANKS if allowed >= rank)
    except OSError as error:
        raise ConfigError(
            f"model.adapter: there is no adapter_config.json in {folder}; name the folder that"
            " peft's save_pretrained wrote"
        ) from error
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise ConfigError(
            f"model.adapter: adapter_config.json in {folder} names no rank up to {_RANKS[-1]};"
            " name a LoRA adapter"
        ) from error


def _adapter_request(settings: VllmSettings) -> Any:  # noqa: ANN401 untyped library
    if settings.adapter is None:
        return None
    from vllm.lora.request import LoRARequest

    folder = Path(settings.adapter).expanduser()
    return LoRARequest(folder.name, _ADAPTER_ID, str(folder.resolve()))


def _runner(config: Any) -> str:  # noqa: ANN401 untyped library
    return "v2" if getattr(config, "use_v2_model_runner", False) else "v1"


def _sentence(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
