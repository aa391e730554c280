"""Choice of the device, and what all devices have in common: memory, errors, threads."""

import ctypes
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from streamlabel.errors import ConfigError, DeviceLostError, DeviceMemoryError, InferenceError
from streamlabel.models.devices.device_faults import cause, fault
from streamlabel.models.devices.npu import load_npu

__all__ = [
    "Device",
    "available_cores",
    "choose_device",
    "device_errors",
    "keep_freed_memory",
    "let_threads_sleep",
    "library_versions",
    "limit_threads",
]

logger = structlog.get_logger(__name__)

# Parameters of mallopt in glibc's malloc.h.
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
# Blocks from this size on are mapped one by one; glibc allows no more for the heaps of threads. The
# widest matrix of a pass of BERT-large has 17 MB.
_MAPPED_BYTES: Final = 32 << 20
# Free memory at the end of a heap is kept up to this size.
_KEPT_BYTES: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class Device:
    """The device chosen.

    Attributes:
        name: as torch wants it: ``cpu``, ``cuda:0``, ``npu:0``.
        versions: of the libraries that affect its results.
    """

    name: str
    versions: dict[str, str]

    @property
    def kind(self) -> str:
        """``cpu``, ``cuda`` or ``npu``."""
        return self.name.partition(":")[0]

    def use_here(self) -> None:
        """Make it the device of the calling thread; torch keeps the current device per thread."""
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
        ConfigError: the requested device does not exist.
    """
    kind, _, index = wanted.partition(":")
    npu = load_npu(wanted)
    import torch

    versions = {"torch": str(torch.__version__)} | npu
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


def _count(kind: str) -> int:
    import torch

    backend = getattr(torch, kind, None)
    try:
        return int(backend.device_count()) if backend is not None and backend.is_available() else 0
    except RuntimeError as error:  # the library is installed, but its driver does not work
        logger.warning("device_unusable", device=kind, error=_first_line(error))
        return 0


def _checked_index(kind: str, index: str, count: int) -> int:
    if count == 0:
        raise ConfigError(
            f"model.device: {kind} is set, but torch finds no such device; set auto or cpu, or"
            f" install a torch build and a driver for {kind}"
        )
    number = int(index or 0)
    if number >= count:
        raise ConfigError(
            f"model.device: {kind}:{number} does not exist, torch finds {count}; set {kind}:0"
            + (f" to {kind}:{count - 1}" if count > 1 else "")
        )
    return number


@contextmanager
def device_errors(device: Device) -> Iterator[None]:
    """Map exceptions of the device's library to our errors; wraps every call of a model.

    Raises:
        DeviceMemoryError: the device is out of memory; its cache is already emptied.
        DeviceLostError: the device context is lost, and every further call would fail.
        InferenceError: the model's code raised anything else.
    """
    try:
        yield
    except (RuntimeError, MemoryError, ValueError, IndexError) as error:
        what = fault(error)
        if what == "memory":
            device.empty_cache()
            raise DeviceMemoryError(f"{device.name} is out of memory") from error
        if what == "device":
            raise DeviceLostError(f"lost its device {device.name}: {cause(error)}") from error
        raise InferenceError(cause(error)) from error


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
        return cores  # no cgroup v2
    if quota == "max":
        return cores
    return max(1, min(cores, math.ceil(int(quota) / int(period))))


def let_threads_sleep() -> None:
    """Let idle OpenMP threads sleep instead of spin; call before torch is imported.

    By default they spin for up to a millisecond after every operator and so take processor time
    from the consumer, a broker and the tokenizer. Measured with MiniLM on 2 busy cores: 3 times the
    texts per second when they sleep. A value that the operator has set is kept.
    """
    if "GOMP_SPINCOUNT" not in os.environ:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def keep_freed_memory() -> bool:
    """Let this process keep what it frees for its next use, and give back what is free now.

    Between two operators glibc gives large blocks back to the system, which clears each page before
    it is used again: 1 to 5 % of the time of an encoder on a CPU. Call it after the model is loaded
    and before its first batch.

    Returns:
        Whether the C library can do this; only glibc can.
    """
    try:
        library = ctypes.CDLL(None)
        set_option, give_back = library.mallopt, library.malloc_trim
    except (AttributeError, OSError, TypeError):  # TypeError: on Windows None names no library
        return False
    give_back(ctypes.c_size_t(0))
    return bool(
        set_option(_MMAP_THRESHOLD, _MAPPED_BYTES) and set_option(_TRIM_THRESHOLD, _KEPT_BYTES)
    )


def limit_threads(threads: int | None) -> int:
    """Set the threads of torch's CPU kernels (None: all available cores); return the number."""
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
