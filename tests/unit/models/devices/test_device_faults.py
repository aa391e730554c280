"""Errors of a device, of its memory and of a text are told apart by type and words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.models.devices.device_faults import Fault, cause, fault

CUDA_TAIL = (
    "\nCUDA kernel errors might be asynchronously reported at some other API call, so the"
    " stacktrace below might be incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1"
)


class AcceleratorError(RuntimeError):
    """As torch.AcceleratorError, from which it differs in nothing that counts."""


class OutOfMemoryError(RuntimeError):
    """As torch.OutOfMemoryError."""


LOST = [
    AcceleratorError("CUDA error: device-side assert triggered" + CUDA_TAIL),
    AcceleratorError("CUDA error: an illegal memory access was encountered" + CUDA_TAIL),
    AcceleratorError("CUDA error: unspecified launch failure"),
    AcceleratorError("CUDA error: the launch timed out and was terminated"),
    AcceleratorError("something that no list knows"),
    RuntimeError("CUDA error: device-side assert triggered" + CUDA_TAIL),
    RuntimeError("CUDA error: misaligned address"),
    RuntimeError("CUDA error: uncorrectable ECC error encountered"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"),
    RuntimeError("CUDA driver error: an illegal memory access was encountered"),
    RuntimeError("HIP error: the operation cannot be performed in the present state"),
    RuntimeError(
        "The Inner error is reported as above. The process exits for this inner error, and the"
        " current working operator name is aclnnEmbedding.\nERR00100 PTA call acl api failed"
    ),
    RuntimeError("npuSynchronizeDevice: NPU function error: aclrtSynchronizeDevice, error 507011"),
    RuntimeError("NPU error, error code is 507015, [Error]: The aicore execution is abnormal"),
    RuntimeError("HBM MULTI BIT ECC ERROR, error code is 507054"),
    RuntimeError("UCE ERROR"),
    RuntimeError("FORCE STOP"),
]
MEMORY = [
    AcceleratorError("CUDA error: out of memory"),
    OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("NPU out of memory. Tried to allocate 20.00 MiB (NPU 0; 60.97 GiB total)"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: not enough memory"),
    MemoryError(),
]
TEXT = [
    IndexError("index out of range in self"),
    ValueError("CUDA error: device-side assert triggered"),  # somebody's text, quoted
    KeyError("NPU error"),
    RuntimeError("The size of tensor a (70) must match the size of tensor b (64)"),
    AcceleratorError("CUDA error: invalid configuration argument" + CUDA_TAIL),
    AcceleratorError("CUDA error: operation not supported"),
    RuntimeError("text 507 of 107 failed"),
]
CASES: list[tuple[Exception, Fault]] = [
    *((error, "device") for error in LOST),
    *((error, "memory") for error in MEMORY),
    *((error, "text") for error in TEXT),
]


@pytest.mark.parametrize(("error", "expected"), CASES, ids=lambda value: str(value)[:40])
def test_whose_fault_it_is(error: Exception, expected: Fault) -> None:
    assert fault(error) == expected
    wrapped = TypeError("wrapped by a library")
    wrapped.__cause__ = error
    assert fault(wrapped) == expected


def test_torch_s_own_types_are_among_them() -> None:
    import torch

    assert fault(torch.AcceleratorError("CUDA error: device-side assert triggered")) == "device"
    assert fault(torch.OutOfMemoryError("anything")) == "memory"


def test_a_ring_of_causes_ends() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert fault(one) == "text"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (IndexError("index out of range in self"), "IndexError: index out of range in self"),
        (
            IndexError("index 70 is out of bounds for dimension 0 with size 64\nmore"),
            "IndexError: index 70 is out of bounds for dimension 0 with size 64",
        ),
        (
            RuntimeError("The size of tensor a (70) must match the size of tensor b (64) at"
            " non-singleton dimension 1"),
            "RuntimeError: The size of tensor a (70) must match the size of tensor b (64) at"
            " non-singleton dimension 1",
        ),
        (
            AcceleratorError("CUDA error: device-side assert triggered" + CUDA_TAIL),
            "AcceleratorError: CUDA error: device-side assert triggered",
        ),
        (ValueError("text 'secret' is too long"), "ValueError"),
        (KeyError("secret"), "KeyError"),
        (IndexError("index out of range: 'secret'"), "IndexError: index out of range"),
        (RuntimeError(), "RuntimeError"),
    ],
)  # fmt: skip
def test_a_cause_is_told_where_it_can_quote_no_text(error: Exception, expected: str) -> None:
    assert cause(error) == expected


@given(text=st.text(min_size=8), kind=st.sampled_from([ValueError, RuntimeError, IndexError]))
def test_a_message_made_of_a_text_is_never_told(text: str, kind: type[Exception]) -> None:
    assert cause(kind(text)) == kind.__name__
    assert text not in cause(kind(f"cannot encode {text!r}"))
