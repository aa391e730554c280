"""Attention over all rows of a pass, from the queries, keys and values of all tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Protocol

from streamlabel.models.encoder.attention import Attention

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ByLength", "RowAttention", "Spans"]


@dataclass(frozen=True, slots=True)
class Spans:
    """Where the rows of a pass are among its T tokens; they are sorted by length.

    Attributes:
        lengths: of the R rows.
        starts: first token of each row, and T, (R + 1,), int32, where the model computes.
    """

    lengths: Sequence[int]
    starts: "Tensor"

    @property
    def firsts(self) -> "Tensor":
        """The first token of each row, (R,)."""
        return self.starts[:-1]

    def groups(self) -> Iterator[tuple[int, int, int, int]]:
        """Yield rows of equal length: length, count, number of the first row and token."""
        row = token = 0
        for length, same in groupby(self.lengths):
            count = len(list(same))
            yield length, count, row, token
            row += count
            token += count * length


class RowAttention(Protocol):
    """Computes attention within each row of a pass; ``number`` is that of the layer."""

    def all(self, qkv: "Tensor", spans: Spans, number: int) -> "Tensor":
        """Return (T, H) of queries, keys and values (T, 3, A, D)."""
        ...

    def first(self, q: "Tensor", kv: "Tensor", spans: Spans, number: int) -> "Tensor":
        """Return (R, H) of the queries (R, A, D) of first tokens, and keys and values (T, 2, A, D).

        Source of the idea: what reads only the first token needs no other one of the last layer.
        """
        ...


@dataclass(frozen=True, slots=True)
class ByLength:
    """A call for the rows of each length, which need no attention mask."""

    kernel: Attention

    def all(self, qkv: "Tensor", spans: Spans, number: int) -> "Tensor":
        """Return (T, H); see ``RowAttention``."""
        import torch

        parts = []
        for length, count, _, token in spans.groups():
            group = qkv[token : token + count * length].view(count, length, *qkv.shape[1:])
            q, k, v = group.permute(2, 0, 3, 1, 4)  # (B, A, L, D) each
            out = self.kernel(q, k, v, number)  # (B, A, L, D)
            parts.append(out.transpose(1, 2).reshape(count * length, -1))  # (B * L, H)
        return torch.cat(parts)

    def first(self, q: "Tensor", kv: "Tensor", spans: Spans, number: int) -> "Tensor":
        """Return (R, H); see ``RowAttention``."""
        import torch

        parts = []
        for length, count, row, token in spans.groups():
            queries = q[row : row + count, :, None]  # (B, A, 1, D)
            group = kv[token : token + count * length].view(count, length, *kv.shape[1:])
            k, v = group.permute(2, 0, 3, 1, 4)  # (B, A, L, D) each
            parts.append(self.kernel(queries, k, v, number).reshape(count, -1))  # (B, H)
        return torch.cat(parts)
