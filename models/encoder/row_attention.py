"""Attention over all rows of a pass, from the queries, keys and values of all tokens.

On a CPU torch's kernel takes longer for a row of 15 tokens than for one of 16: it computes the
exponentials of 16 scores at a time, and the remainder singly. Therefore some tokens before a row,
which are in memory anyway, serve as additional keys, so that their number is a multiple of 16. The
scores of these keys are masked.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Final, Protocol

from streamlabel.models.devices.compute_type import has_small_products
from streamlabel.models.encoder.attention import Attention
from streamlabel.models.encoder.disentangled import Disentangled

if TYPE_CHECKING:
    from torch import Tensor

# Keys whose exponentials are computed at a time, with AVX-512; two times 8 with AVX2.
_AT_ONCE: Final = 16
# The smallest remainder for which additional keys pay, measured on an AMD EPYC with heads of 32
# numbers.
_WORTH: Final = 5

__all__ = ["ByLength", "RowAttention", "Spans", "by_length"]


@dataclass(frozen=True, slots=True)
class Spans:
    """Where the rows of a pass are among its T tokens; they are sorted by length.

    Attributes:
        lengths: of the R rows.
        starts: first token of each row, and T, (R + 1,), int32, where the model computes.
        groups: rows of equal length: length, count, number of the first row and of its first token.
    """

    lengths: Sequence[int]
    starts: "Tensor"
    groups: Sequence[tuple[int, int, int, int]] = field(init=False)

    def __post_init__(self) -> None:
        """Find the groups once, because every layer reads them."""
        groups: list[tuple[int, int, int, int]] = []
        row = token = 0
        for length, same in groupby(self.lengths):
            count = len(list(same))
            groups.append((length, count, row, token))
            row += count
            token += count * length
        object.__setattr__(self, "groups", groups)

    @property
    def firsts(self) -> "Tensor":
        """The first token of each row, (R,)."""
        return self.starts[:-1]


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
    """A call for the rows of each length.

    Attributes:
        kernel: the call.
        fills: adds keys of the row before, where that is faster: see above.
        widens: queries, keys and values of fewer than 32 bits are computed in float32, and rounded
            at the end.
    """

    kernel: Attention
    fills: bool = False
    widens: bool = False

    def all(self, qkv: "Tensor", spans: Spans, number: int) -> "Tensor":
        """Return (T, H); see ``RowAttention``."""
        tokens, _, heads, size = qkv.shape
        found = qkv.new_empty(tokens, heads * size)
        q, k, v = map(_Rows, qkv.unbind(1))
        for length, count, _, token in spans.groups:
            others = self._others(length, token)
            at = token
            if self.widens:  # group by group, because that stays in the cache
                near = qkv[token - others : token + count * length].float()
                q, k, v = map(_Rows, near.unbind(1))
                at = others
            out = self.kernel(
                q.of(at, count, length),
                k.of(at, count, length, others),
                v.of(at, count, length, others),
                number,
                others,
            )  # (B, A, L, D)
            group = found[token : token + count * length]
            group.view(count, length, heads, size).copy_(out.transpose(1, 2))
        return found

    def first(self, q: "Tensor", kv: "Tensor", spans: Spans, number: int) -> "Tensor":
        """Return (R, H); see ``RowAttention``."""
        found = q.new_empty(len(q), q.shape[1] * q.shape[2])
        if self.widens:
            q, kv = q.float(), kv.float()
        k, v = map(_Rows, kv.unbind(1))
        for length, count, row, token in spans.groups:
            others = self._others(length, token)
            out = self.kernel(
                q[row : row + count, :, None],  # (B, A, 1, D)
                k.of(token, count, length, others),
                v.of(token, count, length, others),
                number,
                others,
            )
            found[row : row + count] = out.flatten(1)  # (B, H)
        return found

    def _others(self, length: int, token: int) -> int:
        """Return how many tokens before rows of this length are read, too; 0: none is there."""
        over = length % _AT_ONCE
        others = _AT_ONCE - over
        return others if self.fills and over >= _WORTH and token >= others else 0


def by_length(kernel: Attention, device: str) -> ByLength:
    """Return the calls as they are fast on a device."""
    # DeBERTa's kernel masks no keys, and needs batched products, which are faster in 16 bits.
    is_plain = device == "cpu" and not isinstance(kernel, Disentangled)
    return ByLength(kernel, fills=is_plain, widens=is_plain and not has_small_products())


class _Rows:
    """Groups of rows of (T, A, D)."""

    def __init__(self, x: "Tensor") -> None:
        self._x = x
        _, self._heads, self._size = x.shape
        self._strides = x.stride()
        self._start = x.storage_offset()

    def of(self, token: int, count: int, length: int, others: int = 0) -> "Tensor":
        """Return (B, A, others + L, D): rows of a length, and so many tokens before each.

        A view; these tokens are the end of the row before.
        """
        by_token, by_head, by_number = self._strides
        return self._x.as_strided(
            (count, self._heads, others + length, self._size),
            (length * by_token, by_head, by_token, by_number),
            self._start + (token - others) * by_token,
        )
