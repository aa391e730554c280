"""Attention of variable lengths row by row, in place of a device's kernel."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["plain_kernel"]


def plain_kernel(
    query: "Tensor",
    key: "Tensor",
    value: "Tensor",
    *,
    cu_seq_q: "Tensor",
    cu_seq_k: "Tensor",
    max_q: int,
    max_k: int,
    window_size: tuple[int, int],
) -> "Tensor":
    """Compute row by row, as the documentation of flash attention defines it."""
    import torch

    assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
    assert max_q == int(cu_seq_q.diff().max())
    assert max_k == int(cu_seq_k.diff().max())
    out: Tensor = torch.empty_like(query)
    for row in range(len(cu_seq_q) - 1):
        q = query[cu_seq_q[row] : cu_seq_q[row + 1]].float().transpose(0, 1)  # (A, Q, D)
        k, v = (x[cu_seq_k[row] : cu_seq_k[row + 1]].float().transpose(0, 1) for x in (key, value))
        scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
        queries, keys = scores.shape[1:]
        place = torch.arange(queries)[:, None] + keys - queries
        distance = torch.arange(keys) - place
        left, right = window_size
        is_far = (distance < -left if left >= 0 else distance < -keys) | (
            distance > right if right >= 0 else distance > keys
        )
        weights = scores.masked_fill(is_far, float("-inf")).softmax(-1)
        out[cu_seq_q[row] : cu_seq_q[row + 1]] = (weights @ v).transpose(0, 1).to(query.dtype)
    return out
