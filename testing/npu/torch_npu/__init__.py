"""A simulated Ascend NPU, for tests on a machine without one.

With the folder above this one on PYTHONPATH, ``import torch_npu`` registers the device ``npu``
(torch's PrivateUse1) and the module ``torch.npu``, as the package of that name does. A tensor on
``npu:N`` is a handle of a tensor in the processor's memory, on which the operators run, so results
are those of the CPU. What a device refuses is refused: operands on two devices, a NumPy view, a
device that does not exist, more memory than there is, any call after the context is lost.

Not simulated: the kernels of a real NPU and their rounding, operators and data types that it lacks,
asynchronous errors, streams, graphs, and speed; nor gradients on another device than the first,
because torch takes a back end in Python to have one.

Environment, read at every use:
    SIMULATED_NPU_DEVICES: number of devices; default 2.
    SIMULATED_NPU_BYTES: memory of each; default 1 GiB.
    SIMULATED_NPU_LOST_AFTER: operators after which the context is lost; default: never.
    SIMULATED_NPU_REPORT: folder that gets what happened, a JSON file for each process.
"""

# mypy: ignore-errors
# The private parts of torch that a back end in Python is made of have no types.

import atexit
import json
import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten
from torch.utils.backend_registration import (
    _DummyDeviceGuard,
    _DummyPrivateUse1Hook,
    _setup_privateuseone_for_python_backend,
)

__version__ = f"{torch.__version__.partition('+')[0]}.simulated"

_GIB = 2**30
_REPORT_EVERY = 25  # operators
_INDEXES = {torch.int64, torch.int32, torch.bool, torch.uint8}
# These move elements between devices, so their operands may be on two.
_COPIES = {"aten::copy_", "aten::_copy_from", "aten::_copy_from_and_resize"}


class _Devices:
    """Memory and use of all devices of this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.used: Counter[int] = Counter()  # bytes, by device
        self.seen: Counter[str] = Counter()
        self.operators = 0
        self.thread = threading.local()

    @property
    def count(self) -> int:
        return int(os.environ.get("SIMULATED_NPU_DEVICES", "2"))

    @property
    def memory(self) -> int:
        return int(os.environ.get("SIMULATED_NPU_BYTES", str(_GIB)))

    @property
    def current(self) -> int:
        return int(getattr(self.thread, "index", 0))

    def check(self, index: int) -> int:
        if not 0 <= index < self.count:
            raise RuntimeError(f"simulated npu: invalid device ordinal {index}")
        return index

    def run(self, index: int) -> None:
        """Count one operator, or refuse it after the context is lost."""
        limit = int(os.environ.get("SIMULATED_NPU_LOST_AFTER", "0"))
        with self.lock:
            self.operators += 1
            is_lost = 0 < limit < self.operators
            self.seen[f"operators on npu:{index}"] += 1
            if self.current != index:
                self.seen["operators on another device than the thread's"] += 1
            is_due = self.operators % _REPORT_EVERY == 1
        if is_due:
            self.report()
        if is_lost:
            raise torch.AcceleratorError(
                "NPU function error: call aclrtSynchronizeStream failed, error code is 507015"
            )

    def take(self, held: torch.Tensor, index: int) -> None:
        """Count the memory of a new tensor until it is freed."""
        size = held.untyped_storage().nbytes()
        with self.lock:
            free = self.memory - self.used[index]
            if size > free:
                self.seen["out of memory"] += 1
                raise torch.OutOfMemoryError(
                    f"NPU out of memory. Tried to allocate {size / 2**20:.2f} MiB (NPU {index};"
                    f" {self.memory / _GIB:.2f} GiB total capacity; {free / 2**20:.2f} MiB free)"
                )
            self.used[index] += size
            self.seen["peak bytes"] = max(self.seen["peak bytes"], self.used[index])
        weakref.finalize(held.untyped_storage(), self._free, index, size)

    def _free(self, index: int, size: int) -> None:
        with self.lock:
            self.used[index] -= size

    def report(self) -> None:
        """Write what happened so far: a worker may be killed instead of ending."""
        if folder := os.environ.get("SIMULATED_NPU_REPORT"):
            Path(folder, f"{os.getpid()}.json").write_text(json.dumps(dict(self.seen)))


_devices = _Devices()
atexit.register(_devices.report)


class NpuTensor(torch.Tensor):
    """A tensor on ``npu:N``; ``held`` has its elements, in the processor's memory."""

    held: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: torch.Tensor, index: int) -> "NpuTensor":
        made: NpuTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device("npu", index),
        )
        made.held = held
        return made

    def __repr__(self, **_: Any) -> str:
        return f"NpuTensor({self.held}, device='{self.device}')"

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise RuntimeError("simulated npu: move a tensor to the CPU before you pickle it")

    def tolist(self) -> Any:
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _outside_autograd(func, args, kwargs or {})


def _outside_autograd(func: Any, args: Any, kwargs: Any) -> Any:
    # Autograd has already recorded the operator on the handles. Under inference mode the inner
    # tensors would be of another kind than those made before.
    with torch.inference_mode(mode=False), torch.no_grad():
        return _compute(func, args, kwargs)


def _compute(func: Any, args: Any, kwargs: Any) -> Any:
    flat, spec = tree_flatten((args, kwargs))
    handles = [each for each in flat if isinstance(each, NpuTensor)]
    name = str(func._schema.name)
    _refuse_two_devices(name, flat, handles)
    target = _target(handles, kwargs)
    if target is not None and target.type == "npu":
        index = _devices.current if target.index is None else target.index
        _devices.run(_devices.check(index))
    inner_args, inner_kwargs = _inner(flat, spec, kwargs)
    out = func(*inner_args, **inner_kwargs)
    if target is None or target.type != "npu":
        return out
    owners = {id(handle.held): handle for handle in handles}
    if any(handle.shape != handle.held.shape for handle in handles):
        raise NotImplementedError(f"simulated npu: {name} changes the shape of a tensor in place")
    stores = {handle.held.untyped_storage()._cdata for handle in handles}

    def outer(made: Any) -> Any:
        if not isinstance(made, torch.Tensor):
            return made
        if id(made) in owners:  # in place
            return owners[id(made)]
        if made.untyped_storage()._cdata not in stores:  # not a view
            _devices.take(made, index)
        _devices.seen[f"results in {str(made.dtype).removeprefix('torch.')}"] += 1
        return NpuTensor(made, index)

    return tree_map(outer, out)


def _target(handles: list[NpuTensor], kwargs: dict[str, Any]) -> torch.device | None:
    """Return the device of the result: the one asked for, or that of the operands."""
    if kwargs.get("device") is not None:
        return torch.device(kwargs["device"])
    return handles[0].device if handles else None


def _inner(flat: list[Any], spec: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the arguments on the processor."""

    def moved(each: Any) -> Any:
        if isinstance(each, NpuTensor):
            return each.held
        return torch.device("cpu") if isinstance(each, torch.device) else each

    args, named = tree_unflatten([moved(each) for each in flat], spec)
    named.pop("pin_memory", None)
    if kwargs.get("device") is not None:
        named["device"] = torch.device("cpu")
    return args, named


def _refuse_two_devices(name: str, flat: list[Any], handles: list[NpuTensor]) -> None:
    if name in _COPIES or not handles:
        return
    places = {handle.device for handle in handles}
    for each in flat:
        if isinstance(each, torch.Tensor) and not isinstance(each, NpuTensor) and each.dim():
            # torch itself moves an index to the device of what is indexed; a number has no device
            if name.startswith("aten::index") and each.dtype in _INDEXES:
                continue
            places.add(each.device)
    if len(places) > 1:
        named = " and ".join(sorted(map(str, places)))
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices,"
            f" {named}! (simulated npu, {name})"
        )


class _Npu:
    """``torch.npu``, as much of it as this project and transformers call."""

    OutOfMemoryError = torch.OutOfMemoryError

    def device_count(self) -> int:
        return _devices.count

    def is_available(self) -> bool:
        return _devices.count > 0

    def is_initialized(self) -> bool:
        return True

    def is_bf16_supported(self) -> bool:
        return True

    def current_device(self) -> int:
        return _devices.current

    def set_device(self, device: int | str | torch.device) -> None:
        made = torch.device("npu", device) if isinstance(device, int) else torch.device(device)
        _devices.thread.index = _devices.check(made.index or 0)
        _devices.seen["set_device"] += 1

    def mem_get_info(self, device: int | str | torch.device | None = None) -> tuple[int, int]:
        made = torch.device("npu", device or 0) if isinstance(device, int | None) else None
        index = (made or torch.device(str(device))).index or 0
        return _devices.memory - _devices.used[index], _devices.memory

    def memory_allocated(self, device: Any = None) -> int:
        return _devices.used[_devices.current if device is None else torch.device(device).index]

    def empty_cache(self) -> None:
        _devices.seen["empty_cache"] += 1
        _devices.report()

    def synchronize(self, device: Any = None) -> None:
        """Nothing is asynchronous here."""

    def manual_seed(self, seed: int) -> None:
        """The processor's generator is used."""

    def manual_seed_all(self, seed: int) -> None:
        """The processor's generator is used."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]

    def _is_in_bad_fork(self) -> bool:
        return False


_setup_privateuseone_for_python_backend("npu", _Npu(), _DummyPrivateUse1Hook(), _DummyDeviceGuard())
_library = torch.library.Library("_", "IMPL")
# What has no operand on the device: torch.zeros(device="npu").
_library.fallback(
    lambda func, *args, **kwargs: _outside_autograd(func, args, kwargs), "PrivateUse1"
)


@torch.library.impl("aten::_copy_from", "PrivateUse1")
def _copy_from(source: torch.Tensor, target: torch.Tensor, non_blocking: bool = False) -> Any:
    """Copy where Python's dispatch is off, as in ``torch.tensor(..., device="npu")``."""
    inner = [each.held if isinstance(each, NpuTensor) else each for each in (source, target)]
    inner[1].copy_(inner[0])
    return target


def _implement(name: str) -> None:
    """Run a factory whose general form changes the shape of an empty tensor in place."""
    packet, _, overload = name.partition(".")
    func = getattr(getattr(torch.ops.aten, packet), overload or "default")

    def run(*args: Any, **kwargs: Any) -> Any:
        return _outside_autograd(func, args, kwargs)

    implement: Callable[..., Any] = torch.library.impl(f"aten::{name}", "PrivateUse1")
    implement(run)


for _name in ("arange", "arange.start", "arange.start_step"):
    _implement(_name)


# Under autocast these compute in 16 bits; everything else as its operands are.
_IN_16_BITS = (
    "linear", "matmul", "mm", "bmm", "addmm", "baddbmm", "scaled_dot_product_attention"
)  # fmt: skip
_AUTOCAST = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)


def _cast(name: str) -> None:
    func = getattr(torch.ops.aten, name).default

    def run(*args: Any, **kwargs: Any) -> Any:
        dtype = torch.get_autocast_dtype("npu")

        def narrowed(each: Any) -> Any:
            is_wide = isinstance(each, torch.Tensor) and each.dtype == torch.float32
            return each.to(dtype) if is_wide else each

        with torch._C._ExcludeDispatchKeyGuard(_AUTOCAST):
            args, kwargs = tree_map(narrowed, (args, kwargs))
            return func(*args, **kwargs)

    torch.library.impl(f"aten::{name}", "AutocastPrivateUse1")(run)


_library.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
for _name in _IN_16_BITS:
    _cast(_name)


def npu_fusion_attention(*_args: Any, **_kwargs: Any) -> Any:
    """Be importable, for transformers; nothing here may call it."""
    raise NotImplementedError("simulated npu: npu_fusion_attention")
