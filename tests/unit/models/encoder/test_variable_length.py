"""Attention of all rows at once: its arithmetic, with a plain kernel in place of a device's."""

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from streamlabel.models.encoder.attention import Banded, PlainAttention
from streamlabel.models.encoder.row_attention import ByLength
from streamlabel.models.encoder.variable_length import (
    Everywhere,
    VariableLength,
    VarlenKernel,
    difference,
    is_equal,
    varlen_kernel,
)

if TYPE_CHECKING:
    from torch import Tensor

from testing.plain_varlen import plain_kernel

torch = pytest.importorskip("torch")


def of_windows(*windows: tuple[int, int], kernel: VarlenKernel = plain_kernel) -> VariableLength:
    reach = max(right for _, right in windows)
    kind = Banded(tuple(w == Everywhere for w in windows), reach) if reach > 0 else PlainAttention()
    return VariableLength(kernel, windows, ByLength(kind))


@pytest.mark.parametrize(
    "windows", [(Everywhere,), (Everywhere, Everywhere), ((64, 64), Everywhere), ((5, 5),)]
)
def test_all_rows_at_once_equal_rows_of_one_length(windows: tuple[tuple[int, int], ...]) -> None:
    attention = of_windows(*windows)
    found = difference(attention, heads=3, size=8, device="cpu", kind=torch.bfloat16)
    assert 0 < found < 0.03  # not the same computation, and rounding only
    assert is_equal(found)


def test_a_kernel_with_another_idea_of_the_window_is_noticed() -> None:
    attention = of_windows((5, 5))
    attention = replace(attention, windows=((5, 6),))
    found = difference(attention, heads=3, size=8, device="cpu", kind=torch.bfloat16)
    assert not is_equal(found)


def test_a_kernel_without_numbers_is_noticed() -> None:
    def nothing(query: "Tensor", *_: object, **__: object) -> "Tensor":
        return query * float("nan")

    attention = of_windows(Everywhere, kernel=nothing)
    found = difference(attention, heads=3, size=8, device="cpu", kind=torch.bfloat16)
    assert not is_equal(found)


def test_float32_is_computed_by_length() -> None:
    def refuse(*_: object, **__: object) -> "Tensor":
        raise AssertionError("the kernel takes 16 bits only")

    attention = of_windows(Everywhere, kernel=refuse)
    assert difference(attention, heads=2, size=8, device="cpu", kind=torch.float32) == 0.0


def test_the_kernel_of_torch_takes_these_arguments() -> None:
    import inspect

    kernel = varlen_kernel()
    if kernel is None:
        pytest.skip("this version of torch has none")
    theirs = inspect.signature(kernel).parameters
    assert theirs.keys() >= inspect.signature(plain_kernel).parameters.keys()
