"""Which device computes, and what is the same on all of them: memory, errors, threads."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import structlog

from streamlabel.errors import ConfigError, DeviceMemoryError, InferenceError

__all__ = [
    "Device",
    "available_cores",
    "choose_device",
    "device_errors",
    "let_threads_sleep",
    "library_versions",
    "limit_threads",
]

logger = structlog.get_logger(__name__)

# How the backends say that memory ran out where they raise a plain RuntimeError.
OUT_OF_MEMORY_WORDS = (
    "out of memory",  # CUDA and NPU
    "not enough memory",  # DefaultCPUAllocator
    "can't allocate memory",  # DefaultCPUAllocator, older
    "alloc_cpu.cpp",  # an enforce of the CPU allocator
)


@dataclass(frozen=True, slots=True)
class Device:
    """The device chosen.

    Attributes:
        name: as torch wants it: ``cpu``, ``cuda:0``, ``npu:0``.
        versions: of the libraries that decide what it computes.
    """

    name: str
    versions: dict[str, str]

    @property
    def kind(self) -> str:
        """``cpu``, ``cuda`` or ``npu``."""
        return self.name.partition(":")[0]

    def use_here(self) -> None:
        """Make it the device of the calling thread, whose choice this is in torch."""
        import torch

        if self.kind != "cpu":
            getattr(torch, self.kind).set_device(self.name)

    def empty_cache(self) -> None:
        """Give cached memory back to the device, after it ran out.

        Not ``torch.accelerator``: the NPU's allocator does not implement it.
        """
        import torch

        if self.kind != "cpu":
            getattr(torch, self.kind).empty_cache()


def choose_device(wanted: str) -> Device:
    """Return the device for ``model.device`` and log the decision.

    Args:
        wanted: ``auto`` (npu, then cuda, then cpu), ``cpu``, ``cuda[:N]`` or ``npu[:N]``.

    Raises:
        ConfigError: a device that was asked for is not there.
    """
    import torch

    versions = {"torch": str(torch.__version__)}
    kind, _, index = wanted.partition(":")
    if kind in {"auto", "npu"}:
        versions |= _load_npu(required=kind == "npu")
    counts = {"npu": _count("npu"), "cuda": _count("cuda")}
    if kind == "auto":
        kind = next((name for name, count in counts.items() if count), "cpu")
    if kind == "cpu":
        device = Device("cpu", versions)
    else:
        device = Device(f"{kind}:{_checked_index(kind, index, counts[kind])}", versions)
    device.use_here()
    logger.info("device_chosen", wanted=wanted, device=device.name, found=counts, **versions)
    return device


def _load_npu(*, required: bool) -> dict[str, str]:
    if find_spec("torch_npu") is None:
        if required:
            raise ConfigError(
                "model.device: npu needs the package torch_npu, which is not installed;"
                " install it or set cpu, cuda or auto"
            )
        return {}
    try:
        module = import_module("torch_npu")
    except (ImportError, OSError, RuntimeError) as error:  # CANN's libraries are not there
        if required:
            raise ConfigError(
                f"model.device: npu: torch_npu does not import ({error}); source CANN's"
                " set_env.sh, or set cpu, cuda or auto"
            ) from error
        logger.warning("torch_npu_unusable", error=str(error))
        return {}
    return {"torch_npu": str(module.__version__)}


def _count(kind: str) -> int:
    import torch

    backend = getattr(torch, kind, None)
    return int(backend.device_count()) if backend is not None and backend.is_available() else 0


def _checked_index(kind: str, index: str, count: int) -> int:
    if count == 0:
        raise ConfigError(
            f"model.device: {kind} was asked for and torch sees none here; set auto or cpu, or"
            f" install a torch build and driver for {kind}"
        )
    number = int(index or 0)
    if number >= count:
        raise ConfigError(
            f"model.device: {kind}:{number} is not there, torch sees {count}; set {kind}:0"
            + (f" to {kind}:{count - 1}" if count > 1 else "")
        )
    return number


@contextmanager
def device_errors(device: Device) -> Iterator[None]:
    """Map what the device's library raises to our errors; wraps every call of a model.

    Raises:
        DeviceMemoryError: the device is out of memory; its cache is already emptied.
        InferenceError: anything else that the model's code raised.
    """
    try:
        yield
    except (RuntimeError, MemoryError, ValueError, IndexError) as error:
        if _is_out_of_memory(error):
            device.empty_cache()
            raise DeviceMemoryError(f"{device.name} is out of memory") from error
        raise InferenceError(f"{type(error).__name__}: {_first_line(error)}") from error


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    said = str(error).lower()
    return any(words in said for words in OUT_OF_MEMORY_WORDS)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:300]  # torch appends pages of C++ frames


def available_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many cores this process may use; at least 1.

    A container's CPU quota counts: with four threads on a quota of one core the kernel stops all
    four for most of every period.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = cores or 1
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores  # no cgroup v2 here
    if quota == "max":
        return cores
    return max(1, min(cores, math.ceil(int(quota) / int(period))))


def let_threads_sleep() -> None:
    """Have OpenMP's idle threads sleep instead of spin; call before torch is imported.

    They spin by default, for up to a millisecond after every operator, and take the cores from
    whatever else runs: the consumer, a broker, the tokenizer. Measured with MiniLM on 2 busy cores:
    3 times the texts per second when they sleep. An operator's own choice is left alone.
    """
    if "GOMP_SPINCOUNT" not in os.environ:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def limit_threads(threads: int | None) -> int:
    """Give torch's CPU kernels that many threads (None: every core we may use); return it."""
    import torch

    wanted = threads or available_cores()
    torch.set_num_threads(wanted)
    return wanted


def library_versions(*names: str) -> dict[str, str]:
    """Return ``{name: version}`` of the libraries among ``names`` that are installed."""
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
