"""What an expert writes around a foreign engine: batches of similar lengths in a token budget."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Batch", "Engine", "Ids", "Logits", "batches", "in_order", "loaded"]

Ids = npt.NDArray[np.int64]  # (B, T)
Logits = npt.NDArray[np.float32]  # (B, K)
Batch = tuple[Ids, Ids]  # token ids and attention mask


class Engine(Protocol):
    """A compiled model."""

    def run(self, waiting: Sequence[Batch]) -> list[Logits]:
        """Return the logits of each batch, with as many at once as the engine has streams."""
        ...


def batches(
    rows: Sequence[Sequence[int]], *, budget: int, pad: int
) -> tuple[list[Batch], list[int]]:
    """Return batches of rows sorted by length, and where each row came from, in their order.

    Args:
        rows: token ids, special tokens included.
        budget: padded tokens of a batch; a longer row goes alone.
        pad: id of the padding.
    """
    order = sorted(range(len(rows)), key=lambda place: -len(rows[place]))  # the longest first
    made: list[Batch] = []
    start = 0
    while start < len(order):
        longest = len(rows[order[start]])
        group = order[start : start + max(1, budget // longest)]
        ids = np.full((len(group), longest), pad, dtype=np.int64)
        mask = np.zeros((len(group), longest), dtype=np.int64)
        for place, row in enumerate(group):
            ids[place, : len(rows[row])] = rows[row]
            mask[place, : len(rows[row])] = 1
        made.append((ids, mask))
        start += len(group)
    return made, order


def in_order(found: Sequence[Logits], order: Sequence[int]) -> list[int]:
    """Return the label of each row, in the order in which the rows were given."""
    labels = np.concatenate([logits.argmax(1) for logits in found]).tolist()
    return [label for _, label in sorted(zip(order, labels, strict=True))]


def loaded(folder: Path, attention: str) -> Any:  # noqa: ANN401 transformers is untyped
    """Return the model of a folder for export, with this implementation of attention.

    It returns the logits only: some models cannot return the tuple that a trace needs.
    """
    from torch import nn
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(
        folder, attn_implementation=attention
    )

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:  # noqa: ANN401 torch's
            return self.model(input_ids=input_ids, attention_mask=attention_mask).logits

    return Logits().eval()
