"""Attention within groups of rows of equal length, which needs no attention mask.

Each kind is called with query (B, A, Q, D), key and value (B, A, L, D), where Q is L, or 1 for the
first token of each row only, and returns (B, A, Q, D).
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Attention", "Bucketed", "PlainAttention", "bucketed_bias"]

# Constants of MPNet, which its config.json does not contain.
_BUCKETS: Final = 32
_FARTHEST: Final = 128


class Attention(Protocol):
    """Computes attention of a group of rows; ``number`` is that of the layer."""

    def __call__(self, q: "Tensor", k: "Tensor", v: "Tensor", number: int) -> "Tensor":
        """Return (B, A, Q, D)."""
        ...


@dataclass(frozen=True, slots=True)
class PlainAttention:
    """Positions are known from the embeddings only."""

    def __call__(self, q: "Tensor", k: "Tensor", v: "Tensor", number: int) -> "Tensor":
        """Return (B, A, Q, D)."""
        from torch.nn.functional import scaled_dot_product_attention

        return scaled_dot_product_attention(q, k, v)


@dataclass(frozen=True, slots=True)
class Bucketed:
    """A number for each distance and head is added to the scores (MPNet)."""

    bias: "Tensor"  # (1, A, P, P), float32; for L tokens its first L rows and columns

    def __call__(self, q: "Tensor", k: "Tensor", v: "Tensor", number: int) -> "Tensor":
        """Return (B, A, Q, D)."""
        from torch.nn.functional import scaled_dot_product_attention

        # float32 also beside bfloat16: a conversion in every call would take a tenth of the time
        bias = self.bias[:, :, : q.shape[2], : k.shape[2]]
        return scaled_dot_product_attention(q, k, v, attn_mask=bias)


def bucketed_bias(table: "Tensor", positions: int) -> "Tensor":
    """Return the bias (1, A, P, P) of every query and key.

    Args:
        table: bias of each bucket of distances, (32, A).
        positions: number of positions P.

    Source: MPNetEncoder.compute_position_bias in transformers, after T5: exact distances up to a
    quarter of the buckets, then wider and wider ones; half of the buckets for each direction.
    """
    import torch

    places = torch.arange(positions)
    back = places[:, None] - places[None, :]  # (P, P), positive: the key is before the query
    half, exact = _BUCKETS // 2, _BUCKETS // 4
    distance = back.abs()
    wide = exact + (
        torch.log(distance.clamp(min=1).float() / exact)
        / math.log(_FARTHEST / exact)
        * (half - exact)
    ).to(torch.long)
    bucket = torch.where(distance < exact, distance, wide.clamp(max=half - 1))
    return table[bucket + (back < 0) * half].permute(2, 0, 1)[None].float().contiguous()
