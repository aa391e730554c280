"""Whether further models fit into the memory of accelerators beside those that run."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from streamlabel.config.deployments import all_deployments
from streamlabel.config.engines import VllmSettings
from streamlabel.config.model import ModelSettings
from streamlabel.config.settings import Settings
from streamlabel.consumer.core.model_files import gib, model_files_bytes
from streamlabel.errors import DeploymentRefusedError
from streamlabel.models.devices.device_memory import DeviceMemory

__all__ = ["OnDevices", "device_shortage"]

# What a process takes of a device before its model: 300 to 600 MB with CUDA; more with CANN, which
# is part of the second copy below.
_CONTEXT_BYTES: Final = 600 * 1024 * 1024
# Weights, and as much again for a full batch: its size grows until memory is used well, so that
# less would slow the new model down.
_COPIES: Final = 2


@dataclass(frozen=True, slots=True)
class OnDevices:
    """The present models on their devices.

    Attributes:
        settings: of the service.
        devices: deployment id -> its device, as the model said when it was loaded.
        memories: of those accelerators whose processes could be asked.
    """

    settings: Settings
    devices: Mapping[str, str] = field(default_factory=dict)
    memories: tuple[DeviceMemory, ...] = ()


def device_shortage(wanted: Settings, present: OnDevices) -> str | None:
    """Return why new models do not load beside those that run; None: they do, or it is unknown.

    Blocks.

    Raises:
        DeploymentRefusedError: a device is too small for the new models, whatever else it holds.
    """
    models = [*_placed(wanted, present)]
    for memory in present.memories:
        own = [model for model, device in models if device == memory.device]
        files = [model_files_bytes(model) for model in own]
        if sum(files) > memory.total_bytes:
            raise DeploymentRefusedError(
                f"the files of the new models have {gib(sum(files))}, but {memory.device} has only"
                f" {gib(memory.total_bytes)} of memory in all; use smaller models or another device"
            )
        need = sum(
            int(model.gpu_memory_utilization * memory.total_bytes)
            if isinstance(model, VllmSettings)
            else _COPIES * size + _CONTEXT_BYTES
            for model, size in zip(own, files, strict=True)
        )
        if need > memory.free_bytes:
            return (
                f"loading the new models may take {gib(need)} of {memory.device}, and only"
                f" {gib(memory.free_bytes)} are free there"
            )
    return _reserved(models, present)


def _reserved(models: list[tuple[ModelSettings, str]], present: OnDevices) -> str | None:
    """Return what engines reserve for themselves, if that is more than a device has."""
    shares: dict[str, float] = {}
    running = [
        (each.settings.model, _numbered(present.devices.get(each.id, "cpu")))
        for each in all_deployments(present.settings)
    ]
    for model, device in (*running, *models):
        if isinstance(model, VllmSettings) and device != "cpu":
            shares[device] = shares.get(device, 0.0) + model.gpu_memory_utilization
    for device, share in shares.items():
        if share > 1:
            return (
                f"vLLM's engines for the present and the new models would reserve {share:.0%} of"
                f" {device} (model.gpu_memory_utilization)".replace("%", " %")
            )
    return None


def _placed(wanted: Settings, present: OnDevices) -> Iterator[tuple[ModelSettings, str]]:
    """Yield the new models with their devices; ``auto`` is the accelerator in use, if one is."""
    used = [_numbered(each) for each in present.devices.values() if each != "cpu"]
    for each in all_deployments(wanted):
        device = str(getattr(each.settings.model, "device", "cpu"))
        if device == "auto":
            device = used[0] if used else "cpu"
        yield each.settings.model, _numbered(device)


def _numbered(device: str) -> str:
    return device if device == "cpu" or ":" in device else f"{device}:0"
