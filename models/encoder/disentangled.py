"""Attention of DeBERTa: what queries and keys say about contents and about distances."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Disentangled"]


@dataclass(frozen=True, slots=True)
class Disentangled:
    """Scores of content and position, in both directions, are added (DeBERTa-v2).

    Attributes:
        keys: for each layer, the keys of the buckets of distances, scaled, (A, 2 buckets, D).
        queries: the same for queries.
        buckets: number of buckets of distances in one direction.
        farthest: the distance at which the last bucket ends.
        scale: of the scores of contents.
    """

    keys: "tuple[Tensor, ...]"
    queries: "tuple[Tensor, ...]"
    buckets: int
    farthest: int
    scale: float

    def __call__(
        self, q: "Tensor", k: "Tensor", v: "Tensor", number: int, others: int = 0
    ) -> "Tensor":
        """Return (B, A, Q, D)."""
        import torch
        from torch.nn.functional import scaled_dot_product_attention

        batch, heads, queries, size = q.shape
        length = k.shape[2]
        if others:
            raise AssertionError("it masks no keys of other rows. This is a bug.")
        # Place i - j of a query i and a key j in these is length - 1 - (i - j), so that a row of
        # scores by distance holds the scores of the keys in their order, shifted by i.
        order = _distance_entries(length, self.buckets, self.farthest)
        by_distance = self.keys[number][:, order]  # (A, 2L - 1, D)
        of_content = q.transpose(0, 1).reshape(heads, batch * queries, size)
        content = torch.bmm(of_content, by_distance.transpose(1, 2))  # (A, B * Q, 2L - 1)
        bias = _shifted(content.view(heads, batch, queries, -1), length)  # (A, B, Q, L)
        if queries == 1:  # distances 0 to -(L - 1), one for each key
            by_distance = self.queries[number][:, order[length - 1 :]]  # (A, L, D)
            position = (k.transpose(0, 1) * by_distance[:, None]).sum(-1)[
                :, :, None
            ]  # (A, B, 1, L)
        else:
            of_content = k.transpose(0, 1).reshape(heads, batch * length, size)
            by_distance = self.queries[number][:, order.flip(0)]  # (A, 2L - 1, D)
            position = torch.bmm(of_content, by_distance.transpose(1, 2))
            position = position.view(heads, batch, length, -1)
            position = _shifted(position, length).transpose(2, 3)  # (A, B, Q, L)
        bias = (bias + position).transpose(0, 1)  # (B, A, Q, L)
        return scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=self.scale)


def _shifted(scores: "Tensor", length: int) -> "Tensor":
    """Return (A, B, Q, L) of scores by distance (A, B, Q, 2L - 1): row i begins i entries earlier.

    A view: entry (i, j) is number length - 1 - i + j of row i.
    """
    heads, batch, queries, width = scores.shape
    strides = (batch * queries * width, queries * width, width - 1, 1)
    return scores.as_strided((heads, batch, queries, length), strides, length - 1)


@lru_cache(maxsize=1024)
def _distance_entries(length: int, buckets: int, farthest: int) -> "Tensor":
    """Return the entries of distances length - 1 to -(length - 1) in DeBERTa's table.

    Source: make_log_bucket_position in transformers: exact distances up to half of the buckets,
    then wider and wider ones.
    """
    import torch

    distance = torch.arange(length - 1, -length, -1)
    middle = buckets // 2
    far = distance.abs().clamp(min=middle).float()
    share = torch.log(far / middle) / torch.log(torch.tensor((farthest - 1) / middle))
    wide = (torch.ceil(share * (middle - 1)).to(torch.long) + middle) * distance.sign()
    entry = torch.where(distance.abs() <= middle, distance, wide) + buckets
    return entry.clamp(0, 2 * buckets - 1)
