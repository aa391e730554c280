"""BERT without padding: all rows of a batch as one long matrix, the efficient form on a CPU.

A BERT layer consists of matrix products, which process every token independently, and attention,
which works within a row. Only attention needs the row boundaries, so the products run on (tokens,
hidden) without padding, and attention runs on groups of rows of equal length, which need no
attention mask. The head reads only the first token of a row, so the last layer computes only that
one.
"""

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from streamlabel.models.encoder.matrix_products import Linear, Plain
from streamlabel.models.tokens.rows import Rows

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Bert", "Layer", "Norm", "PackedBert"]

# Tokens of one pass: with this number the widest matrix of a small BERT, (tokens, 4 hidden), stays
# in the last-level cache. Matrix products of 1024 rows already run at full speed.
PASS_TOKENS: Final = 1024


@dataclass(frozen=True, slots=True)
class Norm:
    """Layer normalisation."""

    weight: "Tensor"  # (hidden,)
    bias: "Tensor"  # (hidden,)
    epsilon: float

    def __call__(self, x: "Tensor") -> "Tensor":
        """Return the same shape, normalised over the last axis."""
        from torch.nn.functional import layer_norm

        return layer_norm(x, (x.shape[-1],), self.weight, self.bias, self.epsilon)


@dataclass(frozen=True, slots=True)
class Layer:
    """One transformer layer.

    Attributes:
        qkv: query, key and value as one product; in the last layer, which needs the query of first
            tokens only, two products: the query, then key and value.
    """

    qkv: tuple[Linear, ...]
    attended: Linear
    attended_norm: Norm
    up: Linear
    down: Linear
    norm: Norm


@dataclass(frozen=True, slots=True)
class Bert:
    """The weights; ``positions`` includes token type 0, the only type of a single text."""

    words: "Tensor"  # (vocabulary, hidden)
    positions: "Tensor"  # (positions, hidden)
    norm: Norm
    layers: tuple[Layer, ...]
    pooler: Plain  # float32
    classifier: Plain  # float32
    heads: int
    gelu: str  # torch's name of the approximation: "none" or "tanh"


class PackedBert:
    """Computes logits of rows of any lengths, without padding; implements ``rows.Forward``."""

    def __init__(self, bert: Bert) -> None:
        self._bert = bert

    def logits(self, rows: Rows) -> NDArray[np.float32]:
        """Return logits (R, K) in the order of ``rows``."""
        import torch

        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        logits = np.empty((len(rows), len(self._bert.classifier.bias)), dtype=np.float32)
        with torch.inference_mode():
            for part in _passes(order, rows):
                logits[part] = self._run([rows[i] for i in part]).numpy()
        return logits

    def _run(self, rows: Rows) -> "Tensor":
        """Return logits (R, K) of rows that are sorted by length."""
        import torch

        bert = self._bert
        lengths = [len(row) for row in rows]
        groups = [(length, len(list(same))) for length, same in groupby(lengths)]
        ids = torch.from_numpy(np.concatenate(rows))  # (T,)
        places = torch.from_numpy(np.concatenate([np.arange(length) for length in lengths]))
        firsts = torch.from_numpy(np.cumsum([0, *lengths[:-1]]))  # (R,)
        x = bert.norm(bert.words[ids] + bert.positions[places])  # (T, H)
        for layer in bert.layers[:-1]:
            x = self._feed(layer, self._attend(layer, x, groups), x)  # (T, H)
        last = bert.layers[-1]
        first = x[firsts]  # (R, H)
        first = self._feed(last, self._attend_first(last, x, first, groups), first)
        pooled = torch.tanh(bert.pooler(first.float()))  # (R, H)
        return bert.classifier(pooled)

    def _attend(self, layer: Layer, x: "Tensor", groups: list[tuple[int, int]]) -> "Tensor":
        import torch
        from torch.nn.functional import scaled_dot_product_attention

        (product,) = layer.qkv
        qkv = product(x)  # (T, 3H)
        parts, start = [], 0
        for length, count in groups:
            end = start + length * count
            group = qkv[start:end].view(count, length, 3, self._bert.heads, -1)  # (B, L, 3, A, D)
            q, k, v = group.permute(2, 0, 3, 1, 4)  # (B, A, L, D) each
            out = scaled_dot_product_attention(q, k, v)  # (B, A, L, D)
            parts.append(out.transpose(1, 2).reshape(end - start, -1))  # (B * L, H)
            start = end
        return torch.cat(parts)  # (T, H)

    def _attend_first(
        self, layer: Layer, x: "Tensor", first: "Tensor", groups: list[tuple[int, int]]
    ) -> "Tensor":
        """Attend with the first token of each row only."""
        import torch
        from torch.nn.functional import scaled_dot_product_attention

        hidden, heads = first.shape[-1], self._bert.heads
        query, key_value = layer.qkv
        queries, kv = query(first), key_value(x)  # (R, H), (T, 2H)
        parts, start, row = [], 0, 0
        for length, count in groups:
            end = start + length * count
            q = queries[row : row + count].view(count, heads, 1, -1)  # (B, A, 1, D)
            k, v = kv[start:end].view(count, length, 2, heads, -1).permute(2, 0, 3, 1, 4)
            out = scaled_dot_product_attention(q, k, v)  # (B, A, 1, D)
            parts.append(out.reshape(count, hidden))  # (B, H)
            start, row = end, row + count
        return torch.cat(parts)  # (R, H)

    def _feed(self, layer: Layer, attended: "Tensor", x: "Tensor") -> "Tensor":
        """Return the output of the layer; overwrites ``x``, which has the type of the sums."""
        x = layer.attended_norm(x.add_(layer.attended(attended)))
        return layer.norm(x.add_(layer.down(layer.up(x, self._bert.gelu))))


def _passes(order: list[int], rows: Rows) -> list[list[int]]:
    """Return ``order`` in parts of at most PASS_TOKENS tokens, or one row if it is longer."""
    passes: list[list[int]] = []
    tokens = 0
    for i in order:
        tokens += len(rows[i])
        if not passes or tokens > PASS_TOKENS:
            passes.append([])
            tokens = len(rows[i])
        passes[-1].append(i)
    return passes
