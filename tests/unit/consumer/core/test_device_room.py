"""Whether new models fit on an accelerator beside the present ones, by what is free there."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.config.settings import Settings
from streamlabel.consumer.core.device_room import OnDevices, device_shortage
from streamlabel.consumer.core.free_memory import shortage
from streamlabel.errors import DeploymentRefusedError
from streamlabel.models.devices.device_memory import DeviceMemory

GIB = 1 << 30


def settings(*models: dict[str, Any], swap: str = "auto") -> Settings:
    tasks = {f"t{i}": {"model": model} for i, model in enumerate(models)}
    return Settings.model_validate({"tasks": tasks, "worker": {"swap": swap}})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 2 GiB, in a file with holes."""
    place = tmp_path_factory.mktemp("model")
    with (place / "model.safetensors").open("wb") as file:
        file.truncate(2 * GIB)
    return place


def encoder(folder: Path, device: str = "auto") -> dict[str, Any]:
    return {"backend": "encoder", "path": str(folder), "device": device}


def vllm(folder: Path, share: float, device: str = "cuda") -> dict[str, Any]:
    task = {"labels": [{"name": "a"}, {"name": "b"}]}
    return {
        "backend": "vllm", "path": str(folder), "device": device, "task": task,
        "gpu_memory_utilization": share,
    }  # fmt: skip


def present(free: int, *, device: str = "cuda:0", total: int = 80 * GIB) -> OnDevices:
    running = settings({"backend": "fake"})
    return OnDevices(running, {"t0": device}, (DeviceMemory(device, free, total),))


@given(free=st.integers(0, 80 * GIB), copies=st.integers(1, 4))
def test_what_needs_more_than_is_free_waits_for_the_present_models(
    folder: Path, free: int, copies: int
) -> None:
    said = device_shortage(settings(*[encoder(folder)] * copies), present(free))
    assert (said is not None) == (free < copies * (4 * GIB + 600 * 1024 * 1024))
    assert said is None or "of cuda:0, and only" in said


@pytest.mark.parametrize(
    ("model", "device", "short"),
    [
        ("auto", "npu:0", True),
        ("npu", "npu:0", True),
        ("npu:1", "npu:0", False),
        ("cpu", "npu:0", False),
        ("cuda", "cuda:0", True),
        ("cuda", "npu:0", False),
    ],
)
def test_only_models_on_the_same_device_count(
    folder: Path, model: str, device: str, short: bool
) -> None:
    said = device_shortage(settings(encoder(folder, model)), present(GIB, device=device))
    assert (said is not None) == short


def test_a_device_that_is_too_small_is_refused_without_a_pause(folder: Path) -> None:
    small = present(GIB, total=GIB)
    with pytest.raises(DeploymentRefusedError, match=r"have 2\.00 GiB, but cuda:0 has only 1\.00"):
        device_shortage(settings(encoder(folder)), small)
    with pytest.raises(DeploymentRefusedError, match="or another device"):
        shortage(settings(encoder(folder), swap="after"), [], lambda: None, small)


@pytest.mark.parametrize(
    ("before", "after", "short"), [(0.9, 0.9, True), (0.45, 0.45, False), (0.45, 0.6, True)]
)
def test_engines_reserve_shares_of_a_device(
    folder: Path, before: float, after: float, short: bool
) -> None:
    running = OnDevices(settings(vllm(folder, before)), {"t0": "cuda"})
    said = device_shortage(settings(vllm(folder, after)), running)
    assert (said is not None) == short
    assert said is None or "would reserve" in said


def test_an_engine_needs_its_share_beside_other_models(folder: Path) -> None:
    said = device_shortage(settings(vllm(folder, 0.5)), present(30 * GIB))
    assert said is not None
    assert "40.00 GiB of cuda:0" in said


@pytest.mark.parametrize(("way", "pauses"), [("auto", True), ("beside", False), ("after", True)])
def test_the_setting_decides_what_is_measured(folder: Path, way: str, pauses: bool) -> None:
    said = shortage(settings(encoder(folder), swap=way), [], lambda: None, present(GIB))
    assert (said is not None) == pauses
    assert ("cuda:0" in (said or "")) == (way == "auto")
