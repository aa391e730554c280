"""Runs any transformers sequence classifier on rows of different lengths, by padding them."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from streamlabel.models.encoder.call_groups import CallGroups
from streamlabel.models.tokens.rows import Rows, Types
from streamlabel.models.tokens.token_types import TokenTypes

__all__ = ["PaddedForward", "Padding", "filled"]

# Side of the padding; "none": only rows of the same length are computed together.
Padding = Literal["right", "left", "none"]


class PaddedForward:
    """Works for every architecture: rows are padded to the longest of their group.

    Args:
        model: a transformers sequence classifier in eval mode, on its device.
        device: name of that device.
        pad_id: padding token; masked.
        types: token types of single texts; None if the model takes none, of pairs neither.

    Attributes:
        padding: side of the padding; a check at load finds the side that changes no prediction.
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401 untyped library
        *,
        device: str,
        pad_id: int,
        types: TokenTypes | None,
    ) -> None:
        self._model = model
        self._device = device
        self._pad_id = pad_id
        self._types = types
        self._groups = CallGroups(device)
        self.padding: Padding = "right"

    def logits(self, rows: Rows, types: Types | None = None) -> NDArray[np.float32]:
        """Return logits (R, K) in the order of ``rows``; see ``rows.Forward``."""
        import torch

        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
        lengths = [len(rows[i]) for i in order]
        groups = self._groups.plan(lengths, may_pad=self.padding != "none")
        with torch.inference_mode(), self._groups.measured(lengths, groups):
            # Results stay on the device until the last group is launched, so that no group waits
            # for a copy.
            parts = [
                self._run(
                    [rows[i] for i in order[start:end]],
                    self.padding,
                    None if types is None else [types[i] for i in order[start:end]],
                )
                for start, end in groups
            ]
            sorted_logits = torch.cat(parts).float().cpu().numpy()  # (R, K)
        logits = np.empty_like(sorted_logits)
        logits[order] = sorted_logits
        return logits

    def together(self, rows: Rows, padding: Padding) -> NDArray[np.float32]:
        """Return logits (R, K) of rows in one call with this padding; for the check at load."""
        import torch

        with torch.inference_mode():
            logits: NDArray[np.float32] = self._run(rows, padding).float().cpu().numpy()
        return logits

    def _run(self, rows: Rows, padding: Padding, given: Types | None = None) -> Any:  # noqa: ANN401 a tensor; torch is not imported here
        import torch

        lengths = np.array([len(row) for row in rows])
        mask = filled(lengths, padding)  # (B, T)
        ids = np.full(mask.shape, self._pad_id, dtype=np.int64)
        ids[mask] = np.concatenate(rows)
        inputs = {
            "input_ids": torch.from_numpy(ids).to(self._device),
            "attention_mask": torch.from_numpy(mask.astype(np.int64)).to(self._device),
        }
        if self._types is not None:
            types = np.zeros(mask.shape, dtype=np.int64)
            types[mask] = np.concatenate(
                [self._types.of_row(length) for length in lengths] if given is None else given
            )
            inputs["token_type_ids"] = torch.from_numpy(types).to(self._device)
        return self._model(**inputs).logits  # (B, K)


def filled(lengths: NDArray[np.integer], padding: Padding) -> NDArray[np.bool_]:
    """Return the mask (B, T) of rows of these lengths: True for tokens, False for padding."""
    longest = int(lengths.max())
    if padding == "left":
        return np.asarray(np.arange(longest) >= longest - lengths[:, None])
    return np.asarray(np.arange(longest) < lengths[:, None])
