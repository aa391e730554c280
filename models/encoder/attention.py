"""Attention within groups of rows of equal length, which needs no attention mask.

Each kind is called with query (B, A, Q, D), key and value (B, A, O + L, D), where Q is L, or 1 for
the first token of each row only, and returns (B, A, Q, D). The first O keys are of other rows.
"""

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from torch import Tensor, device

__all__ = ["Attention", "Banded", "Bucketed", "PlainAttention", "bucketed_bias"]

# Constants of MPNet, which its config.json does not contain.
_BUCKETS: Final = 32
_FARTHEST: Final = 128

# Queries of one call of local attention, which reads their keys and half a window on either side.
# Fewer queries compute fewer scores that are masked, in more calls.
_BAND_QUERIES: Final = 128

# Tokens of the longest row for which MPNet's bias is kept with a mask: 20 MB for 12 heads.
_KEPT_BIASES: Final = 96


class Attention(Protocol):
    """Computes attention of a group of rows."""

    def __call__(
        self, q: "Tensor", k: "Tensor", v: "Tensor", number: int, others: int = 0
    ) -> "Tensor":
        """Return (B, A, Q, D).

        Args:
            q: (B, A, Q, D).
            k: (B, A, O + L, D).
            v: the same shape.
            number: of the layer.
            others: O, how many keys of each row are those of another one.
        """
        ...


@dataclass(frozen=True, slots=True)
class PlainAttention:
    """Positions are known from the embeddings only."""

    def __call__(
        self, q: "Tensor", k: "Tensor", v: "Tensor", number: int, others: int = 0
    ) -> "Tensor":
        """Return (B, A, Q, D)."""
        from torch.nn.functional import scaled_dot_product_attention

        return scaled_dot_product_attention(q, k, v, attn_mask=_mask(others, k.shape[2], k.device))


@lru_cache(maxsize=1024)
def _mask(others: int, keys: int, device: "device") -> "Tensor | None":
    """Return what is added to the scores of all queries, (1, O + L), float32; None: nothing."""
    import torch

    if not others:
        return None
    mask = torch.zeros(1, keys, device=device)
    mask[:, :others] = -math.inf
    return mask


@dataclass(frozen=True, slots=True)
class Banded:
    """Some layers attend only to tokens near the query (ModernBERT).

    Attributes:
        are_global: for each layer, whether it attends to all tokens.
        reach: how many tokens before and behind the query others attend to.
    """

    are_global: tuple[bool, ...]
    reach: int

    def __call__(
        self, q: "Tensor", k: "Tensor", v: "Tensor", number: int, others: int = 0
    ) -> "Tensor":
        """Return (B, A, Q, D)."""
        import torch
        from torch.nn.functional import scaled_dot_product_attention

        length, queries, reach = k.shape[2] - others, q.shape[2], self.reach
        if self.are_global[number] or length <= reach + 1:
            mask = _mask(others, k.shape[2], k.device)
            return scaled_dot_product_attention(q, k, v, attn_mask=mask)
        k, v = k[:, :, others:], v[:, :, others:]
        if queries == 1:
            return scaled_dot_product_attention(q, k[:, :, : reach + 1], v[:, :, : reach + 1])
        parts = []
        for start in range(0, queries, _BAND_QUERIES):
            end = min(start + _BAND_QUERIES, queries)
            first, last = max(0, start - reach), min(length, end + reach)
            near = slice(first, last)
            mask = _band(reach, q.device)[
                : end - start, first - start + reach : last - start + reach
            ]
            parts.append(
                scaled_dot_product_attention(
                    q[:, :, start:end], k[:, :, near], v[:, :, near], attn_mask=mask
                )
            )
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


@lru_cache(maxsize=8)
def _band(reach: int, device: "device") -> "Tensor":
    """Return what is added to the scores of _BAND_QUERIES queries and the keys from ``reach`` on.

    Shape (_BAND_QUERIES, _BAND_QUERIES + 2 reach), float32: 0 for a key within reach.
    """
    import torch

    distance = torch.arange(_BAND_QUERIES + 2 * reach) - torch.arange(_BAND_QUERIES)[:, None]
    is_near = (distance >= 0) & (distance <= 2 * reach)
    return torch.zeros(is_near.shape).masked_fill_(~is_near, -math.inf).to(device)


@dataclass(frozen=True, slots=True)
class Bucketed:
    """A number for each distance and head is added to the scores (MPNet)."""

    bias: "Tensor"  # (1, A, P, P), float32; for L tokens its first L rows and columns
    masked: "dict[int, Tensor]" = field(default_factory=dict)  # by L, with others before

    def __call__(
        self, q: "Tensor", k: "Tensor", v: "Tensor", number: int, others: int = 0
    ) -> "Tensor":
        """Return (B, A, Q, D)."""
        from torch.nn.functional import scaled_dot_product_attention

        # float32 also beside bfloat16: a conversion in every call would take a tenth of the time
        length = k.shape[2] - others
        if others and length <= _KEPT_BIASES:
            bias = self._masked(others, length)[:, :, : q.shape[2]]
        else:
            k, v = k[:, :, others:], v[:, :, others:]
            bias = self.bias[:, :, : q.shape[2], :length]
        return scaled_dot_product_attention(q, k, v, attn_mask=bias)

    def _masked(self, others: int, length: int) -> "Tensor":
        """Return (1, A, L, O + L); how many others there are follows from the length."""
        from torch.nn.functional import pad

        known = self.masked.get(length)
        if known is None:
            bias = self.bias[:, :, :length, :length]
            known = self.masked[length] = pad(bias, (others, 0), value=-math.inf)
        return known


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
