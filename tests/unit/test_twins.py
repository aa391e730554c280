"""A twin is its example in all but size; what only a device can run is checked as it is given."""

from pathlib import Path
from typing import Any

import pytest

from streamlabel.config.engines import VllmSettings
from streamlabel.config.settings import Settings
from streamlabel.models.files.checkpoint import Checkpoint
from streamlabel.models.vllm import start as vllm_start
from streamlabel.models.vllm.plain_forward import Question
from streamlabel.models.vllm.platform import Capabilities, Platform
from testing.twins import EXAMPLES, read, twin

# Where the model is, and how large and how exact its engine is.
SIZES = {
    "path",
    "base_url",
    "device",
    "dtype",
    "threads",
    "max_tokens",
    "max_num_batched_tokens",
    "max_num_seqs",
    "kv_cache_gib",
    "enforce_eager",
}
ENGINES = [name for name in EXAMPLES if name.startswith("vllm")]


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_twin_differs_in_place_and_size_only(name: str) -> None:
    example, small = read(name), twin(name, "http://here/v1")
    secret = {"control": small["control"] | {"key": "k" * 16}} if "control" in small else {}
    Settings.model_validate(small | secret)  # the example takes its key from the environment
    left_out = {"model": None, "shadow": None}
    assert small | left_out == example | left_out
    _differ_in_size(example, small)
    if "shadow" in example:
        assert small["shadow"] | left_out == example["shadow"] | left_out
        _differ_in_size(example["shadow"], small["shadow"])


def _differ_in_size(example: dict[str, Any], small: dict[str, Any]) -> None:
    keys = example["model"].keys() | small["model"].keys()
    changed = {k for k in keys if example["model"].get(k) != small["model"].get(k)}
    assert changed <= SIZES


def arguments(name: str, platform: Platform) -> tuple[VllmSettings, dict[str, Any]]:
    """Return what vLLM would be started with on the platform that the example is for."""
    settings = Settings.model_validate(read(name)).model
    assert isinstance(settings, VllmSettings)
    checkpoint = Checkpoint(Path("folder"), "model", {}, {})
    capabilities = Capabilities(platform, "0", label_ids=True, fp32_head=platform != "npu")
    is_pooling = settings.mode == "encoder"
    plan = vllm_start.Plan(
        settings.max_tokens + 1,
        Question(()),
        is_pooling=is_pooling,
        needs_whole_rows=is_pooling,
    )
    return settings, vllm_start._arguments(settings, checkpoint, plan, capabilities)


@pytest.mark.parametrize("name", ENGINES)
def test_an_example_is_for_the_device_in_its_name(name: str) -> None:
    device = Settings.model_validate(read(name)).model
    assert isinstance(device, VllmSettings)
    assert device.device == {"ascend": "npu"}.get(name.rpartition("-")[2], name.rpartition("-")[2])


@pytest.mark.parametrize("name", ["vllm-cuda", "vllm-ascend", "vllm-encoder-cuda"])
def test_an_engine_on_a_device_gets_what_the_example_says(name: str) -> None:
    settings, given = arguments(name, "npu" if name.endswith("ascend") else "cuda")
    assert given["dtype"] == settings.dtype
    assert given["max_num_batched_tokens"] == settings.max_num_batched_tokens
    assert given["max_num_seqs"] == (settings.max_num_seqs or 1024)
    assert given["kv_cache_memory_bytes"] is None, "what gpu_memory_utilization leaves"
    assert given["enable_prefix_caching"] is (settings.mode != "encoder")
    assert given["generation_config"] == "vllm"
    assert given["logprobs_mode"] == "raw_logprobs"


def test_the_last_layer_is_float32_where_the_platform_can() -> None:
    assert arguments("vllm-cuda", "cuda")[1]["hf_overrides"] == {"head_dtype": "float32"}
    assert arguments("vllm-ascend", "npu")[1]["hf_overrides"] == {}
    assert arguments("vllm-cpu", "cpu")[1]["hf_overrides"] == {}, "all of it is float32"
