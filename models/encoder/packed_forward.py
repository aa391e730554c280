"""An encoder without padding: all rows of a batch as one long matrix, the efficient form on a CPU.

A layer consists of matrix products, which process every token independently, and attention, which
works within a row. Only attention needs the row boundaries, so the products run on (tokens, hidden)
without padding, and attention runs on groups of rows of equal length, which need no attention mask.
The head reads only the first token of a row, so the last layer computes only that one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from streamlabel.models.encoder.attention import Attention
from streamlabel.models.encoder.matrix_products import Activation, Linear, Plain
from streamlabel.models.tokens.rows import Rows

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Embeddings", "Encoder", "Head", "Layer", "Norm", "PackedForward", "count_places"]

# Tokens of one pass: with this number the widest matrix of a small BERT, (tokens, 4 hidden), stays
# in the last-level cache. Matrix products of 1024 rows already run at full speed.
PASS_TOKENS: Final = 1024


@dataclass(frozen=True, slots=True)
class Norm:
    """Layer normalisation."""

    weight: "Tensor"  # (hidden,)
    bias: "Tensor | None"  # (hidden,)
    epsilon: float

    def __call__(self, x: "Tensor") -> "Tensor":
        """Return the same shape, normalised over the last axis."""
        from torch.nn.functional import layer_norm

        return layer_norm(x, (x.shape[-1],), self.weight, self.bias, self.epsilon)


@dataclass(frozen=True, slots=True)
class Embeddings:
    """From token ids to the input of the first layer.

    Attributes:
        words: (vocabulary, embedding).
        positions: (positions, embedding), with token type 0 added, the only type of a single text;
            None: attention alone knows positions.
        padding: the id from which positions are counted, see ``count_places``; None: from 0.
        norm: over the sum.
        project: from the embedding's size to the hidden size, if they differ.
    """

    words: "Tensor"
    positions: "Tensor | None"
    padding: int | None
    norm: Norm
    project: Linear | None

    def __call__(self, ids: NDArray[np.int32], lengths: list[int]) -> "Tensor":
        """Return (T, H) of the tokens of all rows."""
        import torch

        x = self.words[torch.from_numpy(ids)]  # (T, E)
        if self.positions is not None:
            places = count_places(ids, lengths, padding=self.padding)
            x = x + self.positions[torch.from_numpy(places)]
        x = self.norm(x)
        return x if self.project is None else self.project(x).to(x.dtype)


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
class Head:
    """What a model computes from the first token of a row: a product for the label scores.

    All above the trunk: two models may share all weights but these.
    """

    dense: Plain  # float32
    labels: Plain  # float32


@dataclass(frozen=True, slots=True)
class Encoder:
    """The weights of a model, and what its family computes with them.

    Attributes:
        heads: one; several if models are computed together.
    """

    embeddings: Embeddings
    layers: tuple[Layer, ...]
    attention: Attention
    attention_heads: int
    activation: Activation
    heads: tuple[Head, ...]
    head_activation: Activation


class PackedForward:
    """Computes logits of rows of any lengths, without padding; implements ``rows.Forward``."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    @property
    def heads(self) -> tuple[Head, ...]:
        """What it computes from the first token of a row."""
        return self._encoder.heads

    def with_heads(self, heads: Sequence[Head]) -> "PackedForward":
        """Return a forward pass with the same trunk and these heads: their logits in a row."""
        return PackedForward(replace(self._encoder, heads=tuple(heads)))

    def logits(self, rows: Rows) -> NDArray[np.float32]:
        """Return logits (R, K) in the order of ``rows``; of several heads, in a row."""
        import torch

        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        width = sum(len(head.labels.bias) for head in self._encoder.heads)
        logits = np.empty((len(rows), width), dtype=np.float32)
        with torch.inference_mode():
            for part in _passes(order, rows):
                logits[part] = self._run([rows[i] for i in part]).numpy()
        return logits

    def _run(self, rows: Rows) -> "Tensor":
        """Return logits (R, K) of rows that are sorted by length."""
        import torch

        encoder = self._encoder
        lengths = [len(row) for row in rows]
        groups = [(length, len(list(same))) for length, same in groupby(lengths)]
        firsts = torch.from_numpy(np.cumsum([0, *lengths[:-1]]))  # (R,)
        x = encoder.embeddings(np.concatenate(rows), lengths)  # (T, H)
        for number, layer in enumerate(encoder.layers[:-1]):
            x = self._feed(layer, self._attend(number, x, groups), x)  # (T, H)
        first = x[firsts]  # (R, H)
        first = self._feed(encoder.layers[-1], self._attend_first(x, first, groups), first)
        scores = [head.labels(head.dense(first, encoder.head_activation)) for head in encoder.heads]
        return scores[0] if len(scores) == 1 else torch.cat(scores, dim=-1)

    def _attend(self, number: int, x: "Tensor", groups: list[tuple[int, int]]) -> "Tensor":
        import torch

        encoder = self._encoder
        (product,) = encoder.layers[number].qkv
        qkv = product(x)  # (T, 3H)
        parts, start = [], 0
        for length, count in groups:
            end = start + length * count
            group = qkv[start:end].view(
                count, length, 3, encoder.attention_heads, -1
            )  # (B, L, 3, A, D)
            q, k, v = group.permute(2, 0, 3, 1, 4)  # (B, A, L, D) each
            out = encoder.attention(q, k, v, number)  # (B, A, L, D)
            parts.append(out.transpose(1, 2).reshape(end - start, -1))  # (B * L, H)
            start = end
        return torch.cat(parts)  # (T, H)

    def _attend_first(
        self, x: "Tensor", first: "Tensor", groups: list[tuple[int, int]]
    ) -> "Tensor":
        """Attend with the first token of each row only, in the last layer."""
        import torch

        encoder = self._encoder
        number = len(encoder.layers) - 1
        hidden, heads = first.shape[-1], encoder.attention_heads
        query, key_value = encoder.layers[number].qkv
        queries, kv = query(first), key_value(x)  # (R, H), (T, 2H)
        parts, start, row = [], 0, 0
        for length, count in groups:
            end = start + length * count
            q = queries[row : row + count].view(count, heads, 1, -1)  # (B, A, 1, D)
            k, v = kv[start:end].view(count, length, 2, heads, -1).permute(2, 0, 3, 1, 4)
            out = encoder.attention(q, k, v, number)  # (B, A, 1, D)
            parts.append(out.reshape(count, hidden))  # (B, H)
            start, row = end, row + count
        return torch.cat(parts)  # (R, H)

    def _feed(self, layer: Layer, attended: "Tensor", x: "Tensor") -> "Tensor":
        """Return the output of the layer; overwrites ``x``, which has the type of the sums."""
        x = layer.attended_norm(x.add_(layer.attended(attended)))
        return layer.norm(x.add_(layer.down(layer.up(x, self._encoder.activation))))


def count_places(
    ids: NDArray[np.int32], lengths: list[int], *, padding: int | None
) -> NDArray[np.int64]:
    """Return the entry of each token (T,) in the table of positions.

    Args:
        ids: the tokens of all rows, (T,).
        lengths: of the rows.
        padding: None: a row's tokens are counted from 0. Else, as RoBERTa does it: tokens other
            than this one are counted from the entry after ``padding``, which is that of this token.
    """
    starts = np.cumsum([0, *lengths[:-1]])
    if padding is None:
        return np.asarray(np.arange(len(ids)) - np.repeat(starts, lengths))
    is_counted = ids != padding
    seen = np.cumsum(is_counted)
    before = seen[starts] - is_counted[starts]
    return np.asarray((seen - np.repeat(before, lengths)) * is_counted + padding)


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
