"""Promises of the settings for vLLM and remote endpoints, and of the platform's limits."""

from typing import Any

import pytest
from pydantic import ValidationError

from streamlabel.config.engines import RemoteSettings, VllmSettings
from streamlabel.config.settings import Settings
from streamlabel.errors import ConfigError
from streamlabel.models.vllm.platform import _refuse_falsifiers, limits

TASK: dict[str, Any] = {"labels": [{"name": "ham"}, {"name": "spam"}]}


def vllm(**given: object) -> VllmSettings:
    return VllmSettings.model_validate({"path": "model", "task": TASK} | given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"task": None}, "required by mode one_token"),
        ({"mode": "encoder"}, "not supported by mode encoder"),
        ({"labels": ["a", "b"]}, "takes the labels of the task"),
        ({"long_text": "windows"}, "windows requires mode encoder"),
        ({"mode": "head", "adapter": "folder"}, "merge it into the model"),
        ({"mode": "head", "task": TASK | {"scoring": "trie"}}, "mode head supports one_token only"),
        ({"max_num_batched_tokens": 32, "max_num_seqs": 64}, "is less than max_num_seqs 64"),
    ],
)
def test_what_does_not_fit_together_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        vllm(**given)


def test_a_lenient_reading_needs_written_answers() -> None:
    given = {"base_url": "http://x/v1", "model": "m", "task": TASK, "score_reading": "lenient"}
    with pytest.raises(ValidationError, match="score_reading: method one_token reads no written"):
        RemoteSettings.model_validate(given)
    made = RemoteSettings.model_validate(given | {"method": "prompted"})
    assert made.score_reading == "lenient"


def test_an_encoder_needs_no_task() -> None:
    assert VllmSettings(path="model", mode="encoder").task is None


def test_every_platform_has_limits_of_its_own() -> None:
    cuda, npu, cpu = (limits(vllm(), platform) for platform in ("cuda", "npu", "cpu"))
    assert (cuda.max_num_batched_tokens, cuda.max_num_seqs) == (16384, 1024)
    assert (npu.max_num_batched_tokens, npu.max_num_seqs) == (8192, 256)
    assert (cpu.max_num_batched_tokens, cpu.max_num_seqs) == (4096, 256)
    assert cuda.kv_cache_bytes is npu.kv_cache_bytes is None
    assert cpu.kv_cache_bytes == 4 * 2**30


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"max_num_batched_tokens": 100}, (100, 100)),
        ({"max_num_seqs": 9000}, (9000, 9000)),
        ({"max_num_batched_tokens": 512, "max_num_seqs": 8}, (512, 8)),
    ],
)
def test_a_step_always_has_room_for_its_requests(
    given: dict[str, object], expected: tuple[int, int]
) -> None:
    limit = limits(vllm(**given), "cpu")
    assert (limit.max_num_batched_tokens, limit.max_num_seqs) == expected


def test_what_falsifies_probabilities_on_ascend_is_refused() -> None:
    _refuse_falsifiers(vllm(), {})
    with pytest.raises(ConfigError, match="enable_reduce_sample"):
        _refuse_falsifiers(vllm(additional_config={"enable_reduce_sample": True}), {})
    with pytest.raises(ConfigError, match="V2 model runner"):
        _refuse_falsifiers(vllm(), {"VLLM_USE_V2_MODEL_RUNNER": "1"})


def test_a_key_is_never_shown() -> None:
    settings = RemoteSettings.model_validate(
        {"base_url": "http://x/v1", "model": "m", "task": TASK, "api_key": "hidden"}
    )
    assert "hidden" not in repr(settings)
    assert "hidden" not in settings.model_dump_json()


@pytest.mark.parametrize(("outage_s", "is_right"), [(599, True), (600, False), (601, False)])
def test_an_outage_must_end_before_the_worker_is_killed(outage_s: float, *, is_right: bool) -> None:
    given = {
        "model": {
            "backend": "remote",
            "base_url": "http://x/v1",
            "model": "m",
            "task": TASK,
            "outage_timeout_s": outage_s,
        },
        "worker": {"batch_timeout_s": 600},
    }
    if is_right:
        Settings.model_validate(given)
        return
    with pytest.raises(ValidationError, match=r"model\.outage_timeout_s, worker\.batch_timeout_s"):
        Settings.model_validate(given)
