"""Whether further models fit into memory beside those that run; of the machine on Linux only."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streamlabel.config.deployments import all_deployments
from streamlabel.config.settings import Settings
from streamlabel.consumer.core.device_room import OnDevices, device_shortage
from streamlabel.consumer.core.model_files import gib, model_files_bytes
from streamlabel.errors import DeploymentRefusedError

__all__ = ["free_bytes", "shortage"]

# Python, torch and the tokenizer of a worker process: 250 to 400 MB measured.
_PROCESS_BYTES: Final = 400 * 1024 * 1024
# A model takes up to twice its files while it loads: 16-bit weights become 32-bit ones, and the
# check of a packed encoder loads it twice.
_LOADING: Final = 2
_LIMITS: Final = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)


def shortage(
    wanted: Settings,
    pids: Iterable[int | None],
    free: Callable[[], int | None],
    present: OnDevices,
) -> str | None:
    """Return why new models do not load beside those that run; None: they do. Blocks.

    Args:
        wanted: the settings with the new models, and ``worker.swap``.
        pids: of the processes that end in a swap.
        free: returns how much memory may still be used; None: not known.
        present: the present models on their accelerators.

    Raises:
        DeploymentRefusedError: there is not enough memory for the new models alone.
    """
    way = wanted.worker.swap
    free_bytes = None if way == "beside" else free()
    if free_bytes is not None:
        need = _memory_needed(wanted)
        without = free_bytes + _resident_bytes(pids)
        if need.least_bytes > without:
            raise DeploymentRefusedError(
                f"the files of the new models have {gib(need.least_bytes)}, but only"
                f" {gib(without)} of memory are free even without the present models; use smaller"
                " models or a larger machine"
            )
        if way == "auto" and need.loading_bytes > free_bytes:
            return (
                f"loading the new models may take {gib(need.loading_bytes)}, and only"
                f" {gib(free_bytes)} are free"
            )
    on_device = None if way == "beside" else device_shortage(wanted, present)
    if way == "auto":
        return on_device
    return "worker.swap is set to after" if way == "after" else None


@dataclass(frozen=True, slots=True)
class _Need:
    """What models need.

    Attributes:
        least_bytes: size of their files: less is certainly not enough.
        loading_bytes: enough to load them, by experience.
    """

    least_bytes: int
    loading_bytes: int


def _memory_needed(settings: Settings) -> _Need:
    """Return what the models of a configuration need, by the files of their folders. Blocks."""
    least = loading = 0
    for each in all_deployments(settings):
        if size := model_files_bytes(each.settings.model):
            least += size
            loading += _LOADING * size + _PROCESS_BYTES
    return _Need(least, loading)


def free_bytes() -> int | None:
    """Return how much memory may still be used, also within the limit of a container. Blocks.

    None: this system does not say it.
    """
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(
            1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")
        )
    except (OSError, StopIteration, ValueError, IndexError):
        return None
    for limit, used in _LIMITS:
        try:
            free = min(free, max(0, int(limit.read_text()) - int(used.read_text())))
        except (OSError, ValueError):  # there is none, or it says "max"
            continue
    return free


def _resident_bytes(pids: Iterable[int | None]) -> int:
    """Return the memory of processes, which is free when they have ended. Blocks."""
    total = 0
    for pid in {each for each in pids if each is not None}:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
        except (OSError, ValueError, IndexError):
            continue
    return total
