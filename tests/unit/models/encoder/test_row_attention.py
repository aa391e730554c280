"""Attention within rows equals that of each row alone, whatever lies beside it in the memory."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlabel.models.encoder.attention import (
    Attention,
    Banded,
    Bucketed,
    PlainAttention,
    bucketed_bias,
)
from streamlabel.models.encoder.row_attention import ByLength, Spans

if TYPE_CHECKING:
    from torch import Tensor

torch = pytest.importorskip("torch")

HEADS, SIZE = 2, 8
KINDS: Sequence[Callable[[], Attention]] = (
    PlainAttention,
    lambda: Banded((False, True), 20),
    lambda: Bucketed(bucketed_bias(torch.randn(32, HEADS), 128)),
)


def spans_of(lengths: Sequence[int]) -> Spans:
    starts = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
    return Spans(lengths, starts)


def tokens(lengths: Sequence[int], parts: int) -> "Tensor":
    torch.manual_seed(sum(lengths))
    made: Tensor = torch.randn(sum(lengths), parts, HEADS, SIZE)
    return made


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", [0, 1])
@settings(deadline=None)  # the first call of torch takes long
@given(st.lists(st.integers(1, 100), min_size=1, max_size=8).map(sorted))
def test_what_is_read_beside_a_row_does_not_show(
    kind: Callable[[], Attention], number: int, lengths: list[int]
) -> None:
    kernel, spans = kind(), spans_of(lengths)
    alone, filled = ByLength(kernel), ByLength(kernel, fills=True)
    qkv = tokens(lengths, 3)
    expected = alone.all(qkv, spans, number)
    assert torch.allclose(filled.all(qkv, spans, number), expected, atol=1e-5)
    starts = spans.firsts
    first = filled.first(qkv[starts, 0], qkv[:, 1:], spans, number)
    assert torch.allclose(first, expected[starts], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_all_lengths_are_those_of_one_call_each(kind: Callable[[], Attention]) -> None:
    lengths = [*range(1, 100), 100, 100, 100]
    qkv, kernel, spans = tokens(lengths, 3), kind(), spans_of(lengths)
    found = ByLength(kernel, fills=True).all(qkv, spans, 1)
    for start, length in zip(spans.starts.tolist(), lengths, strict=False):
        q, k, v = qkv[start : start + length].permute(1, 2, 0, 3)[:, None]  # (1, A, L, D) each
        right = kernel(q, k, v, 1)[0].transpose(0, 1).flatten(1)
        assert torch.allclose(found[start : start + length], right, atol=1e-5)


def test_most_lengths_are_read_in_multiples_of_16() -> None:
    seen: list[int] = []

    class Seen(PlainAttention):
        def __call__(
            self, q: "Tensor", k: "Tensor", v: "Tensor", number: int, others: int = 0
        ) -> "Tensor":
            seen.append(k.shape[2])
            return PlainAttention.__call__(self, q, k, v, number, others)

    lengths = [16, 19, 20, 21, 31, 32, 60]
    ByLength(Seen(), fills=True).all(tokens(lengths, 3), spans_of(lengths), 0)
    assert seen == [16, 19, 20, 32, 32, 32, 64]


def test_16_bits_are_computed_in_32_where_that_is_faster() -> None:
    """Both are given rounded numbers, and what is computed in 32 bits is rounded only once."""
    lengths = [5, 9, 40, 70]
    qkv, spans = tokens(lengths, 3).bfloat16(), spans_of(lengths)
    exact = ByLength(PlainAttention()).all(qkv.float(), spans, 0)
    wide = ByLength(PlainAttention(), widens=True)
    found = wide.all(qkv, spans, 0)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, exact.bfloat16())
    first = wide.first(qkv[spans.firsts, 0], qkv[:, 1:], spans, 0)
    assert first.dtype == torch.bfloat16
    assert torch.allclose(first.float(), exact[spans.firsts], atol=1e-2)
