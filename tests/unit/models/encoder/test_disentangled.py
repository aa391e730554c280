"""DeBERTa's attention, in parts and blocks, equals its formula."""

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlabel.models.encoder import disentangled
from streamlabel.models.encoder.disentangled import Disentangled

if TYPE_CHECKING:
    from torch import Tensor

torch = pytest.importorskip("torch")

HEADS, SIZE, BUCKETS, FARTHEST = 3, 8, 32, 64


def entry(distance: int) -> int:
    """Return the place of a distance in the table, as make_log_bucket_position computes it."""
    middle = BUCKETS // 2
    if abs(distance) > middle:
        share = math.log(abs(distance) / middle) / math.log((FARTHEST - 1) / middle)
        size = math.ceil(share * (middle - 1)) + middle
        distance = size if distance > 0 else -size
    return min(max(distance + BUCKETS, 0), 2 * BUCKETS - 1)


def by_formula(kernel: Disentangled, q: "Tensor", k: "Tensor", v: "Tensor") -> "Tensor":
    length = k.shape[2]
    entries = torch.tensor([[entry(i - j) for j in range(length)] for i in range(length)])
    keys, queries = kernel.keys[0][:, entries], kernel.queries[0][:, entries]  # (A, Q, K, D)
    scores = kernel.scale * q @ k.transpose(-1, -2)
    scores = scores + torch.einsum("baid,aijd->baij", q, keys)
    scores = scores + torch.einsum("bajd,aijd->baij", k, queries)
    found: Tensor = scores.softmax(-1) @ v
    return found


@pytest.mark.parametrize("size_bytes", [1, 12_000, disentangled._SCORES_BYTES])
@settings(deadline=None)  # the first call of torch takes long
@given(rows=st.integers(1, 4), length=st.integers(1, 150), block=st.integers(1, 64))
def test_parts_and_blocks_do_not_show(size_bytes: int, rows: int, length: int, block: int) -> None:
    torch.manual_seed(length)
    table = torch.randn(2, HEADS, 2 * BUCKETS, SIZE)
    kernel = Disentangled((table[0],), (table[1],), BUCKETS, FARTHEST, 1 / math.sqrt(3 * SIZE))
    q, k, v = torch.randn(rows, length, 3, HEADS, SIZE).permute(2, 0, 3, 1, 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disentangled, "_SCORES_BYTES", size_bytes)
        patch.setattr(disentangled, "_BLOCK", block)
        found = kernel(q, k, v, 0)
    expected = by_formula(kernel, q, k, v)
    assert torch.allclose(found, expected, atol=1e-4)
    assert torch.allclose(kernel(q[:, :, :1], k, v, 0), expected[:, :, :1], atol=1e-4)
