"""Classifies exceptions of a model's libraries: caused by the text, by memory or by the device.

All of these rules are in this module. Types are compared by name and messages by their words, so no
library has to be imported, and a test needs no device.
"""

import re
from typing import Final, Literal

__all__ = ["Fault", "cause", "fault"]

Fault = Literal[
    "text",  # the call failed; the next one may succeed
    "memory",  # it did not fit
    "device",  # the context is lost: every call of this process fails from now on
]

# Messages of a plain RuntimeError that mean out of memory.
_MEMORY: Final = (
    "out of memory",  # CUDA and NPU
    "not enough memory",  # DefaultCPUAllocator
    "can't allocate memory",  # DefaultCPUAllocator, older
    "alloc_cpu.cpp",  # an enforce of the CPU allocator
    "status_alloc_failed",  # cuBLAS, cuDNN: no room for a handle or a workspace
    "failed to allocate memory",  # NPU, EL0004
    "207001",  # ACL_ERROR_RT_MEMORY_ALLOCATION
)
_MEMORY_TYPES: Final = {"MemoryError", "OutOfMemoryError"}

# CUDA errors after which the context remains usable; all others are sticky.
_HARMLESS: Final = ("invalid argument", "invalid configuration argument", "not supported")

# Messages of a plain RuntimeError that mean a lost context.
_LOST: Final = re.compile(
    r"\b(?:CUDA|HIP) error|CUDA driver error|device-side assert|illegal memory access"
    r"|illegal instruction|misaligned address|unspecified launch failure|launch timed out"
    r"|uncorrectable|fallen off the bus|context is destroyed|device kernel image is invalid"
    r"|(?:CUBLAS|CUDNN|CUSOLVER|CUSPARSE)_STATUS_(?:EXECUTION_FAILED|INTERNAL_ERROR"
    r"|NOT_INITIALIZED|MAPPING_ERROR)"
    r"|NPU (?:function )?error|aclrt|rtStreamSynchronize|aicore|aicpu|vector core exception"
    r"|HBM MULTI BIT ECC|UCE ERROR|FORCE STOP|SUSPECT (?:MEM|REMOTE) ERROR|device task abort"
    r"|\bERR\d{5} (?:PTA call acl api|OPS call acl api)|\b(?:5070\d\d|107\d{3}|E[EZIKL]9999)\b",
    re.IGNORECASE,
)
_DEVICE_TYPES: Final = {"AcceleratorError"}

# Library messages that contain only numbers and the library's own names, never part of a text. Any
# other message could quote a text, so only the exception type is reported.
_SAFE: Final = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?:list |tuple |string )?index out of range(?: in self)?",
        r"index -?\d+ is out of bounds for (?:dimension|axis) \d+ with size \d+",
        r"[Tt]he size of tensor a \(\d+\) must match the size of tensor b \(\d+\)"
        r" at non-singleton dimension \d+",
        r"[Tt]he expanded size of the tensor \(\d+\) must match the existing size \(\d+\)"
        r" at non-singleton dimension \d+",
        r"[Ss]izes of tensors must match except in dimension \d+",
        r"shape '\[[-\d, ]*\]' is invalid for input of size \d+",
        r"mat1 and mat2 shapes cannot be multiplied \(\d+x\d+ and \d+x\d+\)",
        r"operands could not be broadcast together with shapes [\d, ()]+",
        r"expected scalar type \w{1,16} but found \w{1,16}",
        r"expected m1 and m2 to have the same dtype, but got: [\w: !=]{1,60}",
        r"(?:CUDA|HIP|NPU)(?: driver| function)? error: [a-z -]{1,60}",
        r"(?:CUDA|NPU) out of memory",
        r"CUDA error: (?:CUBLAS|CUDNN|CUSOLVER|CUSPARSE)_STATUS_[A-Z_]+",
        r"cuDNN error: CUDNN_STATUS_[A-Z_]+",
        r"(?:float |integer )?division by zero",
        r"maximum recursion depth exceeded",
    )
)


def fault(error: BaseException) -> Fault:
    """Return what an exception of a model, or one of its causes, was caused by."""
    link: BaseException | None = error
    seen = 0
    while link is not None and seen < 8:  # a chain may be circular
        found = _fault(link)
        if found != "text":
            return found
        link, seen = link.__cause__, seen + 1
    return "text"


def _fault(error: BaseException) -> Fault:
    types = {cls.__name__ for cls in type(error).__mro__}
    said = str(error)
    if types & _MEMORY_TYPES:
        return "memory"
    if not types & (_DEVICE_TYPES | {"RuntimeError"}):
        return "text"  # a ValueError with the words "CUDA error" quotes a text
    lowered = said.lower()
    if any(words in lowered for words in _MEMORY):
        return "memory"
    is_device = bool(types & _DEVICE_TYPES) or bool(_LOST.search(said))
    if not is_device or any(words in lowered.split("\n", 1)[0] for words in _HARMLESS):
        return "text"
    return "device"


def cause(error: BaseException) -> str:
    """Return the type of an exception, and its message if that cannot quote a text."""
    name = type(error).__name__
    first = (str(error).splitlines() or [""])[0]
    for pattern in _SAFE:
        if found := pattern.match(first):
            return f"{name}: {found[0].strip()}"
    return name
