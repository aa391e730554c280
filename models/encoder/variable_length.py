"""Attention over rows of any lengths in one call, as accelerators have it, and its proof.

``torch.nn.attention.varlen`` takes all rows of a pass one after the other, without padding. It
exists for CUDA and 16 bits; what it cannot compute, rows of equal length do. Before it is used it
computes random rows beside them.

No device was at hand when this was written: its arithmetic is tested on a CPU with a plain
implementation of the same interface, the call on a device is not.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, cast

import numpy as np

from streamlabel.models.encoder.row_attention import ByLength, Spans

if TYPE_CHECKING:
    from torch import Tensor, dtype

__all__ = [
    "Everywhere",
    "VariableLength",
    "VarlenKernel",
    "difference",
    "is_equal",
    "varlen_kernel",
]

Everywhere: Final = (-1, -1)  # the window of a layer that attends to all tokens

# Lengths of the rows of the proof, around powers of two and the window of ModernBERT.
_LENGTHS: Final = (1, 2, 7, 8, 31, 64, 65, 130, 257)
# Rounding of bfloat16 in a weighted mean of values around 1.
_TOLERANCE: Final = 0.03


class VarlenKernel(Protocol):
    """As ``torch.nn.attention.varlen.varlen_attn``."""

    def __call__(
        self,
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
        """Return (queries, A, D) of queries, keys and values (tokens, A, D) of all rows.

        Args:
            query: of all rows, one after the other.
            key: the same.
            value: the same.
            cu_seq_q: first query of each row, and the number of queries, int32.
            cu_seq_k: the same of keys.
            max_q: queries of the longest row.
            max_k: keys of the longest row.
            window_size: how many keys before and behind the query's; the last query and the last
                key of a row are at the same place. (-1, -1): all.
        """
        ...


@dataclass(frozen=True, slots=True)
class VariableLength:
    """One call for all rows; implements ``RowAttention``.

    Attributes:
        kernel: the call.
        windows: of each layer.
        otherwise: computes float32, which the kernel does not take, and the first tokens of a layer
            with a window, which the kernel would put at the end of the row.
    """

    kernel: VarlenKernel
    windows: tuple[tuple[int, int], ...]
    otherwise: ByLength

    def all(self, qkv: "Tensor", spans: Spans, number: int) -> "Tensor":
        """Return (T, H); see ``RowAttention``."""
        import torch

        if qkv.dtype == torch.float32:
            return self.otherwise.all(qkv, spans, number)
        q, k, v = qkv.unbind(1)  # (T, A, D) each
        out = self.kernel(
            q,
            k,
            v,
            cu_seq_q=spans.starts,
            cu_seq_k=spans.starts,
            max_q=spans.lengths[-1],
            max_k=spans.lengths[-1],
            window_size=self.windows[number],
        )
        return out.flatten(1)

    def first(self, q: "Tensor", kv: "Tensor", spans: Spans, number: int) -> "Tensor":
        """Return (R, H); see ``RowAttention``."""
        import torch

        if q.dtype == torch.float32 or self.windows[number] != Everywhere:
            return self.otherwise.first(q, kv, spans, number)
        k, v = kv.unbind(1)  # (T, A, D) each
        rows = torch.arange(len(q) + 1, dtype=torch.int32, device=q.device)
        out = self.kernel(
            q,
            k,
            v,
            cu_seq_q=rows,
            cu_seq_k=spans.starts,
            max_q=1,
            max_k=spans.lengths[-1],
            window_size=Everywhere,
        )
        return out.flatten(1)


def varlen_kernel() -> VarlenKernel | None:
    """Return torch's kernel; None if this version has none."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return cast("VarlenKernel", varlen_attn)  # it returns a tensor if no further output is asked


def difference(
    attention: VariableLength, *, heads: int, size: int, device: str, kind: "dtype"
) -> float:
    """Return the largest difference from rows of equal length, on random rows.

    Args:
        attention: of a model.
        heads: A.
        size: of a head, D.
        device: where it computes.
        kind: the type in which it computes.
    """
    import torch

    torch_random = torch.Generator().manual_seed(1)
    tokens = sum(_LENGTHS)
    qkv = torch.randn(tokens, 3, heads, size, generator=torch_random).to(device, kind)
    starts = torch.from_numpy(np.cumsum([0, *_LENGTHS]).astype(np.int32)).to(device)
    spans = Spans(_LENGTHS, starts)
    q, kv = qkv[spans.firsts, 0], qkv[:, 1:]
    found = []
    with torch.inference_mode():
        for number in range(len(attention.windows)):
            right = attention.otherwise.all(qkv, spans, number)
            found.append(attention.all(qkv, spans, number).float() - right.float())
            right = attention.otherwise.first(q, kv, spans, number)
            found.append(attention.first(q, kv, spans, number).float() - right.float())
    return float(torch.cat(found).abs().max())  # NaN if there is one


def is_equal(found: float) -> bool:
    """Return whether the difference is rounding; NaN is not."""
    return found <= _TOLERANCE
