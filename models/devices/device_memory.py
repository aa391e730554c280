"""How much memory of an accelerator is free, asked in a process that uses it."""

from dataclasses import dataclass

__all__ = ["DeviceMemory", "device_memory"]


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Memory of one device; other processes on it count.

    Attributes:
        device: as torch names it: ``cuda:0``, ``npu:0``.
        free_bytes: that may still be allocated.
        total_bytes: of the device.
    """

    device: str
    free_bytes: int
    total_bytes: int


def device_memory(device: str) -> DeviceMemory | None:
    """Return the memory of a device that this process has initialised; None: not known.

    Elsewhere it is not asked: the question alone would take hundreds of MB of the device for this
    process, as where the engine of vLLM runs in another one. Memory that torch keeps cached counts
    as used.

    Args:
        device: of ``ModelIdentity``.
    """
    kind = device.partition(":")[0]
    if kind not in {"cuda", "npu"}:
        return None
    import torch

    backend = getattr(torch, kind, None)
    try:
        if backend is None or not backend.is_initialized():
            return None
        free, total = backend.mem_get_info(device)
    except (AttributeError, RuntimeError, ValueError):  # an old library, or a device that is lost
        return None
    return DeviceMemory(device, int(free), int(total))
