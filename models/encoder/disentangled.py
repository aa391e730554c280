"""Attention of DeBERTa: what queries and keys say about contents and about distances."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

# Queries of one product with distances.
_BLOCK: Final = 128
# Bytes of scores by distance that are computed together on a CPU: so many stay in a core's cache.
_SCORES_BYTES: Final = 2**21

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

        length = k.shape[2]
        if others:
            raise AssertionError("it masks no keys of other rows. This is a bug.")
        order = _distance_entries(length, self.buckets, self.farthest)
        if q.shape[2] == 1:
            return self._of_firsts(q, k, v, number, order[length - 1 :])
        # Place i - j of a query i and a key j in these is length - 1 - (i - j), so that a row of
        # scores by distance holds the scores of the keys in their order, shifted by i.
        keys = self.keys[number][:, order].transpose(1, 2)  # (A, D, 2L - 1)
        opposite = self.queries[number][:, order.flip(0)].transpose(1, 2)
        parts = list(_parts(q))
        if len(parts) == 1:
            return self._attend(q, k, v, (keys, opposite))
        found = torch.empty_like(q)
        for rows, some in parts:
            at = rows, some
            found[at] = self._attend(q[at], k[at], v[at], (keys[some], opposite[some]))
        return found

    def _of_firsts(
        self, q: "Tensor", k: "Tensor", v: "Tensor", number: int, order: "Tensor"
    ) -> "Tensor":
        """Return (B, A, 1, D) of the first queries, with the entries of the keys' distances."""
        keys = self.keys[number][:, order]  # (A, L, D)
        queries = self.queries[number][:, order]
        content = q.transpose(0, 1)[:, :, 0] @ keys.transpose(1, 2)  # (A, B, L)
        position = (k.transpose(0, 1) * queries[:, None]).sum(-1)  # (A, B, L)
        return self._biased(q, k, v, (content + position)[:, :, None])

    def _attend(
        self, q: "Tensor", k: "Tensor", v: "Tensor", by_distance: "tuple[Tensor, Tensor]"
    ) -> "Tensor":
        """Return attention (B, A, L, D) of some rows and heads, computed block by block.

        A block of T queries has only L + T - 1 distances to the keys, not 2L - 1.

        Args:
            q: queries, (B, A, L, D).
            k: keys.
            v: values.
            by_distance: keys, and queries in the other direction, each (A, D, 2L - 1).
        """
        import torch

        batch, heads, length, _ = q.shape
        keys, queries = by_distance
        if length <= _BLOCK:
            position = _by_place(k, queries).transpose(2, 3)  # (A, B, Q, L)
            return self._biased(q, k, v, _by_place(q, keys) + position)
        blocks = [slice(i, min(i + _BLOCK, length)) for i in range(0, length, _BLOCK)]
        position = q.new_empty(heads, batch, length, length)
        for block in blocks:
            position[:, :, block] = _by_place(k[:, :, block], _near(queries, block, length))
        position = position.transpose(2, 3)
        found = torch.empty_like(q)
        for block in blocks:
            content = _by_place(q[:, :, block], _near(keys, block, length))
            bias = content + position[:, :, block]
            found[:, :, block] = self._biased(q[:, :, block], k, v, bias)
        return found

    def _biased(self, q: "Tensor", k: "Tensor", v: "Tensor", bias: "Tensor") -> "Tensor":
        """Return attention (B, A, T, D) with scores (A, B, T, L) added to those of contents."""
        from torch.nn.functional import scaled_dot_product_attention

        bias = bias.transpose(0, 1)
        return scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=self.scale)


def _parts(q: "Tensor") -> "Iterator[tuple[slice, slice]]":
    """Yield which rows and heads of (B, A, L, D) are computed together."""
    batch, heads, length, _ = q.shape
    if q.device.type != "cpu":
        yield slice(None), slice(None)
        return
    size_bytes = length * (length + min(length, _BLOCK)) * q.element_size()
    at_once = max(1, _SCORES_BYTES // size_bytes)
    rows, some = max(1, at_once // heads), min(heads, at_once)
    for row in range(0, batch, rows):
        for head in range(0, heads, some):
            yield slice(row, row + rows), slice(head, head + some)


def _near(by_distance: "Tensor", block: slice, length: int) -> "Tensor":
    """Return the L + T - 1 of 2L - 1 distances (last dimension) that a block of T tokens has."""
    return by_distance[..., length - block.stop : 2 * length - 1 - block.start]


def _by_place(x: "Tensor", by_distance: "Tensor") -> "Tensor":
    """Return scores (A, B, T, L) of T tokens (B, A, T, D) with W = L + T - 1 distances (A, D, W).

    A view of all T x W scores: row i begins an entry earlier than the one before, so entry (i, j)
    is number T - 1 - i + j of row i.
    """
    import torch

    batch, heads, tokens, size = x.shape
    width = by_distance.shape[-1]
    scores = torch.bmm(x.transpose(0, 1).reshape(heads, batch * tokens, size), by_distance)
    strides = (batch * tokens * width, tokens * width, width - 1, 1)
    return scores.as_strided((heads, batch, tokens, width + 1 - tokens), strides, tokens - 1)


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
