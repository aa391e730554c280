"""Runs any transformers sequence classifier on rows of different lengths, by padding them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlabel.models.rows import Rows

__all__ = ["PaddedForward", "plan_groups"]

# What one more call of the model costs, in padded tokens that it could have computed instead:
# little on a CPU, a lot where kernels are launched one by one.
CALL_TOKENS = {"cpu": 64, "cuda": 2048, "npu": 2048}


class PaddedForward:
    """The plain way, for every architecture: rows padded to the longest of their group.

    Args:
        model: a transformers sequence classifier in eval mode, on its device.
        device: name of that device.
        pad_id: fills rows up; masked, so its value does not change an answer.
        takes_token_types: the model wants token_type_ids.
    """

    def __init__(self, model: Any, *, device: str, pad_id: int, takes_token_types: bool) -> None:  # noqa: ANN401 untyped library
        self._model = model
        self._device = device
        self._pad_id = pad_id
        self._takes_token_types = takes_token_types
        self._call_tokens = CALL_TOKENS[device.partition(":")[0]]

    def logits(self, rows: Rows) -> NDArray[np.float32]:
        """Return logits (R, K) in the order of ``rows``."""
        import torch

        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
        groups = plan_groups([len(rows[i]) for i in order], call_tokens=self._call_tokens)
        with torch.inference_mode():
            # Results stay on the device until the last group is launched: no wait in between.
            parts = [self._run([rows[i] for i in order[start:end]]) for start, end in groups]
            sorted_logits = torch.cat(parts).float().cpu().numpy()  # (R, K)
        logits = np.empty_like(sorted_logits)
        logits[order] = sorted_logits
        return logits

    def _run(self, rows: Rows) -> Any:  # noqa: ANN401 a tensor; torch is not imported here
        import torch

        lengths = np.array([len(row) for row in rows])
        longest = int(lengths[0])
        mask = np.arange(longest) < lengths[:, None]  # (B, T)
        ids = np.full(mask.shape, self._pad_id, dtype=np.int64)
        ids[mask] = np.concatenate(rows)
        inputs = {
            "input_ids": torch.from_numpy(ids).to(self._device),
            "attention_mask": torch.from_numpy(mask.astype(np.int64)).to(self._device),
        }
        if self._takes_token_types:
            inputs["token_type_ids"] = torch.zeros_like(inputs["input_ids"])
        return self._model(**inputs).logits  # (B, K)


def plan_groups(lengths: Sequence[int], *, call_tokens: int) -> list[tuple[int, int]]:
    """Return [start, end) of the groups to run together.

    Args:
        lengths: of the rows, longest first.
        call_tokens: what a call costs, in tokens; a group ends before its padding costs more.
    """
    groups: list[tuple[int, int]] = []
    start, padding = 0, 0
    for i, length in enumerate(lengths):
        padding += lengths[start] - length
        if padding > call_tokens:
            groups.append((start, i))
            start, padding = i, 0
    if lengths:
        groups.append((start, len(lengths)))
    return groups
