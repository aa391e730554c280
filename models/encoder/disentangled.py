"""Attention of DeBERTa: what queries and keys say about contents and about distances."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

# Queries of one product with distances.
_BLOCK: Final = 128
# Scores by distance that are computed together on a CPU: so many stay in a core's cache.
_SCORES: Final = 2**19

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

        batch, heads, queries, _ = q.shape
        length = k.shape[2]
        if others:
            raise AssertionError("it masks no keys of other rows. This is a bug.")
        order = _distance_entries(length, self.buckets, self.farthest)
        if queries == 1:
            return self._of_firsts(q, k, v, number, order[length - 1 :])
        # Place i - j of a query i and a key j in these is length - 1 - (i - j), so that a row of
        # scores by distance holds the scores of the keys in their order, shifted by i.
        keys = self.keys[number][:, order].transpose(1, 2)  # (A, D, 2L - 1)
        opposite = self.queries[number][:, order.flip(0)].transpose(1, 2)
        found = torch.empty_like(q)
        for rows, some in _parts(batch, heads, length, q.device.type):
            at = rows, some
            self._attend(q[at], k[at], v[at], (keys[some], opposite[some]), found[at])
        return found

    def _of_firsts(
        self, q: "Tensor", k: "Tensor", v: "Tensor", number: int, order: "Tensor"
    ) -> "Tensor":
        """Return (B, A, 1, D) of the first queries, with the entries of the keys' distances."""
        from torch.nn.functional import scaled_dot_product_attention

        keys = self.keys[number][:, order]  # (A, L, D)
        queries = self.queries[number][:, order]
        content = q.transpose(0, 1)[:, :, 0] @ keys.transpose(1, 2)  # (A, B, L)
        position = (k.transpose(0, 1) * queries[:, None]).sum(-1)  # (A, B, L)
        bias = (content + position).transpose(0, 1)[:, :, None]  # (B, A, 1, L)
        return scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=self.scale)

    def _attend(
        self,
        q: "Tensor",
        k: "Tensor",
        v: "Tensor",
        by_distance: "tuple[Tensor, Tensor]",
        found: "Tensor",
    ) -> None:
        """Write attention (B, A, L, D) of some rows and heads to ``found``, block by block.

        A block of T queries has only L + T - 1 distances to the keys, not 2L - 1.

        Args:
            q: queries, (B, A, L, D).
            k: keys.
            v: values.
            by_distance: keys, and queries in the other direction, each (A, D, 2L - 1).
            found: the result.
        """
        from torch.nn.functional import scaled_dot_product_attention

        batch, heads, length, _ = q.shape
        keys, queries = by_distance
        blocks = [slice(i, min(i + _BLOCK, length)) for i in range(0, length, _BLOCK)]
        if len(blocks) == 1:
            position = _by_place(k, queries)
        else:
            position = q.new_empty(heads, batch, length, length)
            for block in blocks:
                position[:, :, block] = _by_place(k[:, :, block], _near(queries, block, length))
        position = position.transpose(2, 3)  # (A, B, Q, L)
        for block in blocks:
            of_block = q[:, :, block]
            content = _by_place(of_block, _near(keys, block, length))
            bias = (content + position[:, :, block]).transpose(0, 1)  # (B, A, T, L)
            found[:, :, block] = scaled_dot_product_attention(
                of_block, k, v, attn_mask=bias, scale=self.scale
            )


def _parts(batch: int, heads: int, length: int, device: str) -> "Iterator[tuple[slice, slice]]":
    """Yield which rows and heads are computed together."""
    if device != "cpu":
        yield slice(None), slice(None)
        return
    at_once = max(1, _SCORES // (length * (length + min(length, _BLOCK))))
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
