"""An encoder without padding: all rows of a batch as one long matrix, the efficient form on a CPU.

A layer consists of matrix products, which process every token independently, and attention, which
works within a row. Only attention needs the row boundaries, so the products run on (tokens, hidden)
without padding. The head of most models reads only the first token of a row, so their last layer
computes only that one.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from streamlabel.models.encoder.packed_layers import Encoder, Head, count_places
from streamlabel.models.encoder.row_attention import Spans
from streamlabel.models.tokens.rows import Rows, Types

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PackedForward"]

# Tokens of one pass: with this number the widest matrix of a small BERT, (tokens, 4 hidden), stays
# in the last-level cache. Matrix products of 1024 rows already run at full speed.
PASS_TOKENS: Final = 1024
# On a device, which needs far more rows for full utilisation, and where each pass costs calls.
_DEVICE_PASS_TOKENS: Final = 32_768


class PackedForward:
    """Computes logits of rows of any lengths, without padding; implements ``rows.Forward``."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._device = encoder.embeddings.words.device
        self._pass_tokens = PASS_TOKENS if self._device.type == "cpu" else _DEVICE_PASS_TOKENS

    @property
    def heads(self) -> tuple[Head, ...]:
        """What it computes from the one vector of a row."""
        return self._encoder.heads

    def with_heads(self, heads: Sequence[Head]) -> "PackedForward":
        """Return a forward pass with the same trunk and these heads: their logits in a row."""
        return PackedForward(replace(self._encoder, heads=tuple(heads)))

    def logits(self, rows: Rows, types: Types | None = None) -> NDArray[np.float32]:
        """Return logits (R, K) in the order of ``rows``; of several heads, in a row."""
        import torch

        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        width = sum(len(head.labels.bias) for head in self._encoder.heads)
        logits = np.empty((len(rows), width), dtype=np.float32)
        with torch.inference_mode():
            for part in _passes(order, rows, self._pass_tokens):
                logits[part] = self._of(part, rows, types)
                if len(part) > 1:
                    # If the model overflows on a row, NaN also reaches rows that read its keys.
                    for i in np.compress(~np.isfinite(logits[part]).all(axis=-1), part):
                        logits[i] = self._of([i], rows, types)
        return logits

    def _of(self, part: Sequence[int], rows: Rows, types: Types | None) -> NDArray[np.float32]:
        """Return the logits of rows that are computed together."""
        given = None if types is None else [types[i] for i in part]
        computed: NDArray[np.float32] = self._run([rows[i] for i in part], given).cpu().numpy()
        return computed

    def _run(self, rows: Rows, given: Types | None) -> "Tensor":
        """Return logits (R, K) of rows that are sorted by length, and of these token types."""
        import torch

        encoder = self._encoder
        ids, places, types, spans = self._inputs(rows, given)
        x = encoder.embeddings(ids, places, types)  # (T, H)
        turns = None if encoder.rotary is None else encoder.rotary.turns(places)
        inner = encoder.layers if encoder.takes_mean else encoder.layers[:-1]
        for number in range(len(inner)):
            x = self._compute(number, x, spans, turns)  # (T, H)
        if not encoder.takes_mean:
            x = self._compute_firsts(x, spans, turns)  # (R, H)
        if encoder.final_norm is not None:
            x = encoder.final_norm(x)
        if encoder.takes_mean:
            lengths = torch.tensor(spans.lengths, device=x.device)
            x = torch.segment_reduce(x.float(), "mean", lengths=lengths)  # (R, H)
        scores = [head(x, encoder.head_activation) for head in encoder.heads]
        return scores[0] if len(scores) == 1 else torch.cat(scores, dim=-1)

    def _inputs(
        self, rows: Rows, given: Types | None
    ) -> "tuple[Tensor, Tensor, Tensor | None, Spans]":
        """Return tokens (T,) of rows, their positions (T,), types (T,), and where the rows are."""
        import torch

        lengths = [len(row) for row in rows]
        ids = np.concatenate(rows)
        places = count_places(ids, lengths, padding=self._encoder.padding)
        types = np.concatenate(given) if given else ids[:0]
        parts: list[NDArray[np.integer]] = [ids, places, np.cumsum([0, *lengths]), types]
        # one buffer, so that a device needs one copy
        numbers = torch.from_numpy(np.concatenate(parts).astype(np.int32))
        if self._device.type != "cpu":
            numbers = numbers.pin_memory().to(self._device, non_blocking=True)
        tokens, positions, starts, kinds = torch.split(numbers, [*map(len, parts)])
        return tokens, positions, kinds if given else None, Spans(lengths, starts)

    def _compute(
        self, number: int, x: "Tensor", spans: Spans, turns: "tuple[Tensor, Tensor] | None"
    ) -> "Tensor":
        """Return the output (T, H) of a layer."""
        encoder = self._encoder
        layer = encoder.layers[number]
        (product,) = layer.qkv
        qkv = product(layer.enter(x)).view(len(x), 3, encoder.attention_heads, -1)
        if encoder.rotary is not None and turns is not None:
            encoder.rotary.turn(qkv[:, :2], turns, number)
        attended = encoder.attention.all(qkv, spans, number)  # (T, H)
        return layer.leave(x, attended, encoder.activation)

    def _compute_firsts(
        self, x: "Tensor", spans: Spans, turns: "tuple[Tensor, Tensor] | None"
    ) -> "Tensor":
        """Return the output (R, H) of the last layer for the first token of each row."""
        encoder = self._encoder
        number, layer, heads = len(encoder.layers) - 1, encoder.layers[-1], encoder.attention_heads
        query, key_value = layer.qkv
        y = layer.enter(x)
        # position 0 turns nothing
        q = query(y[spans.firsts]).view(len(spans.lengths), heads, -1)  # (R, A, D)
        kv = key_value(y).view(len(x), 2, heads, -1)  # (T, 2, A, D)
        if encoder.rotary is not None and turns is not None:
            encoder.rotary.turn(kv[:, :1], turns, number)
        attended = encoder.attention.first(q, kv, spans, number)  # (R, H)
        return layer.leave(x[spans.firsts], attended, encoder.activation)


def _passes(order: list[int], rows: Rows, most_tokens: int) -> list[list[int]]:
    """Return ``order`` in parts of at most this many tokens, or one row if it is longer."""
    passes: list[list[int]] = []
    tokens = 0
    for i in order:
        tokens += len(rows[i])
        if not passes or tokens > most_tokens:
            passes.append([])
            tokens = len(rows[i])
        passes[-1].append(i)
    return passes
