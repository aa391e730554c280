"""Devices: errors are mapped at the seam, quotas are respected."""

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from streamlabel.errors import ConfigError, DeviceLostError, DeviceMemoryError, InferenceError
from streamlabel.models.devices.device import (
    Device,
    available_cores,
    choose_device,
    device_errors,
    let_threads_sleep,
)
from streamlabel.models.devices.device_memory import DeviceMemory, device_memory

pytest.importorskip("torch")

CPU = Device("cpu", {})


def raise_mapped(error: Exception) -> None:
    with device_errors(CPU):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("NPU out of memory. Tried to allocate 20.00 MiB (NPU 0; 60.97 GiB total)"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] data. DefaultCPUAllocator: not enough memory: you"
            " tried to allocate 400 bytes."
        ),
    ],
)
def test_out_of_memory_of_every_device_is_one_error(error: Exception) -> None:
    with pytest.raises(DeviceMemoryError, match="cpu is out of memory") as raised:
        raise_mapped(error)
    assert raised.value.__cause__ is error


def test_torch_s_own_out_of_memory_is_too() -> None:
    import torch

    with pytest.raises(DeviceMemoryError, match="cpu is out of memory"):
        raise_mapped(torch.OutOfMemoryError("anything"))


def test_the_cpu_s_allocator_really_says_so() -> None:
    import torch

    with pytest.raises(DeviceMemoryError, match="cpu is out"), device_errors(CPU):
        torch.empty(1 << 60, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (IndexError("index out of range in self\nC++ frames"), "index out of range in self"),
        (RuntimeError("a text\nC++ frames"), None),
        (ValueError("a text"), None),
    ],
)
def test_other_errors_are_inference_errors_that_quote_no_text(
    error: Exception, said: str | None
) -> None:
    with pytest.raises(InferenceError) as raised:
        raise_mapped(error)
    assert str(raised.value) == type(error).__name__ + (f": {said}" if said else "")


def test_a_lost_device_is_told_apart() -> None:
    with pytest.raises(DeviceLostError, match=r"^lost its device cpu: RuntimeError: CUDA error"):
        raise_mapped(RuntimeError("CUDA error: device-side assert triggered\nmore"))


def test_our_bugs_are_not_hidden() -> None:
    with pytest.raises(AttributeError):
        raise_mapped(AttributeError("typo"))


@pytest.mark.parametrize(
    ("content", "most"),
    [
        ("max 100000", None),
        ("100000 100000", 1),
        ("150000 100000", 2),
        ("1000 100000", 1),
        ("x", None),
    ],
)
def test_a_container_s_quota_limits_the_cores(
    tmp_path: Path, content: str, most: int | None
) -> None:
    (tmp_path / "cpu.max").write_text(content + "\n")
    everything = available_cores(tmp_path / "missing")
    assert available_cores(tmp_path) == min(everything, most or everything)


def test_auto_falls_back_to_the_cpu() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    device = choose_device("auto")
    assert (device.name, device.kind) == ("cpu", "cpu")
    assert device.versions["torch"] == torch.__version__
    device.empty_cache()


class FakeNpu:
    """What torch_npu adds to torch, as far as choosing looks."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.calls: list[str] = []
        self.is_available = lambda: self.count > 0
        self.device_count = lambda: self.count
        self.set_device = self.calls.append
        self.empty_cache = lambda: self.calls.append("empty_cache")
        self.is_used = True
        self.is_initialized = lambda: self.is_used
        self.memory: dict[str, tuple[int, int]] = {}

    def mem_get_info(self, device: str) -> tuple[int, int]:
        """Free and total bytes; a device that is lost raises."""
        if device not in self.memory:
            raise RuntimeError("the device is lost")
        return self.memory[device]


@pytest.fixture
def npu(monkeypatch: pytest.MonkeyPatch) -> FakeNpu:
    import torch

    extension = ModuleType("torch_npu")
    extension.__version__ = "2.10.0"  # type: ignore[attr-defined]  # as packages have it
    extension.__spec__ = sys.__spec__
    backend = FakeNpu(2)
    monkeypatch.setitem(sys.modules, "torch_npu", extension)
    monkeypatch.setattr(torch, "npu", backend, raising=False)
    return backend


@pytest.mark.parametrize(
    ("wanted", "name"), [("auto", "npu:0"), ("npu", "npu:0"), ("npu:1", "npu:1")]
)
def test_an_npu_comes_first(npu: FakeNpu, wanted: str, name: str) -> None:
    device = choose_device(wanted)
    assert (device.name, device.kind) == (name, "npu")
    assert device.versions["torch_npu"] == "2.10.0"
    with pytest.raises(DeviceMemoryError, match=f"{name} is out"), device_errors(device):
        raise RuntimeError("NPU out of memory.")
    assert npu.calls == [name, "empty_cache"]


def test_the_memory_of_a_device_in_use_is_known(npu: FakeNpu) -> None:
    npu.memory["npu:1"] = (3, 8)
    assert device_memory("npu:1") == DeviceMemory("npu:1", free_bytes=3, total_bytes=8)
    assert device_memory("npu:0") is None, "its driver does not answer"
    npu.is_used = False
    assert device_memory("npu:1") is None, "asking would take memory of the device"


@pytest.mark.parametrize("device", ["cpu", "", "api.example.com", "cuda:0"])
def test_without_an_accelerator_in_use_nothing_is_known(device: str) -> None:
    assert device_memory(device) is None


def test_the_cpu_can_be_chosen_beside_an_npu(npu: FakeNpu) -> None:
    assert choose_device("cpu").name == "cpu"
    assert npu.calls == []


def test_an_npu_number_too_high_is_refused(npu: FakeNpu) -> None:
    with pytest.raises(ConfigError, match=r"model\.device: npu:2 .*set npu:0 to npu:1"):
        choose_device("npu:2")
    npu.count = 0
    with pytest.raises(ConfigError, match=r"model\.device: npu .*set auto or cpu"):
        choose_device("npu")
    assert choose_device("auto").kind != "npu"


def test_an_npu_without_its_package_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.device: npu needs the Python package torch_npu"):
        choose_device("npu")


@pytest.mark.parametrize(
    ("own", "policy"),
    [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"), ({"GOMP_SPINCOUNT": "5"}, None)],
)
def test_idle_threads_sleep_unless_the_operator_chose(
    monkeypatch: pytest.MonkeyPatch, own: dict[str, str], policy: str | None
) -> None:
    monkeypatch.setattr(os, "environ", dict(own))
    let_threads_sleep()
    assert os.environ.get("OMP_WAIT_POLICY") == policy
