"""What a packed encoder consists of: embeddings, layers and heads, as tables and products."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from streamlabel.models.encoder.matrix_products import Activation, Linear, Plain
from streamlabel.models.encoder.rotary import Rotary
from streamlabel.models.encoder.row_attention import RowAttention

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Embeddings", "Encoder", "Head", "Layer", "Norm", "count_places"]


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
        types: (types, embedding), what a token type adds to that; None: the model has none, and
            those of pairs are left out.
        norm: over the sum.
        project: from the embedding's size to the hidden size, if they differ.
    """

    words: "Tensor"
    positions: "Tensor | None"
    norm: Norm
    project: Linear | None
    types: "Tensor | None" = None

    def __call__(self, ids: "Tensor", places: "Tensor", types: "Tensor | None" = None) -> "Tensor":
        """Return (T, H) of tokens (T,) at these positions (T,), of these types (T,)."""
        x = self.words[ids]  # (T, E)
        if self.positions is not None:
            x = x + self.positions[places]
        if types is not None and self.types is not None:
            x = x + self.types[types]
        x = self.norm(x)
        return x if self.project is None else self.project(x).to(x.dtype)


@dataclass(frozen=True, slots=True)
class Layer:
    """One transformer layer.

    It normalises its sums, or the input of its products: then the encoder normalises the output of
    the last layer.

    Attributes:
        entry_norm: before query, key and value, if the products' input is normalised.
        qkv: query, key and value as one product; in the last layer, which needs the query of first
            tokens only, two products: the query, then key and value.
        attended_norm: of the sum after attention, or before ``up``.
        gate: its product is multiplied with the activated one of ``up``.
        norm: of the sum after ``down``, if sums are normalised.
    """

    qkv: tuple[Linear, ...]
    attended: Linear
    attended_norm: Norm
    up: Linear
    down: Linear
    norm: Norm | None
    gate: Linear | None = None
    entry_norm: Norm | None = None

    def enter(self, x: "Tensor") -> "Tensor":
        """Return what query, key and value are computed from; the same shape."""
        return x if self.entry_norm is None else self.entry_norm(x)

    def leave(self, x: "Tensor", attended: "Tensor", activation: Activation) -> "Tensor":
        """Return the output of the layer; overwrites ``x``, which has the type of the sums.

        Args:
            x: its input, (tokens, H).
            attended: the result of attention, (tokens, H).
            activation: between ``up`` and ``down``.
        """
        x = x.add_(self.attended(attended))
        y = self.attended_norm(x)
        inner = self.up(y, activation)
        if self.gate is not None:
            inner = self.gate.times(y, inner)
        if self.norm is None:
            return x.add_(self.down(inner))
        return self.norm(y.add_(self.down(inner)))


@dataclass(frozen=True, slots=True)
class Head:
    """What a model computes from one vector of a row: a product for the label scores.

    All above the trunk: two models may share all weights but these.
    """

    dense: Plain  # float32
    labels: Plain  # float32
    norm: Norm | None = None

    def __call__(self, pooled: "Tensor", activation: Activation) -> "Tensor":
        """Return logits (R, K) of (R, H)."""
        x = self.dense(pooled, activation)
        return self.labels(x if self.norm is None else self.norm(x))


@dataclass(frozen=True, slots=True)
class Encoder:
    """The weights of a model, and what its family computes with them.

    Attributes:
        padding: the id from which positions are counted, see ``count_places``; None: from 0.
        rotary: turns queries and keys, if positions enter that way.
        final_norm: of the output of the last layer, if the layers do not normalise theirs.
        takes_mean: the heads read the mean of a row's tokens, not the first one.
        heads: one; several if models are computed together.
    """

    embeddings: Embeddings
    layers: tuple[Layer, ...]
    attention: RowAttention
    attention_heads: int
    activation: Activation
    heads: tuple[Head, ...]
    head_activation: Activation
    padding: int | None = None
    rotary: Rotary | None = None
    final_norm: Norm | None = None
    takes_mean: bool = False


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
