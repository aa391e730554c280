"""Runs a causal language model with transformers: first-token log-probabilities, greedy text."""

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

from streamlabel.models.answer import FirstToken
from streamlabel.models.padded import CALL_TOKENS, plan_groups
from streamlabel.models.rows import Rows
from streamlabel.models.shared_prefix import compute_shared

__all__ = ["CausalModel"]


class CausalModel:
    """A model on its device; not thread-safe, blocks.

    First tokens are read from one forward pass and never from ``generate``'s scores: those come
    after processors such as the repetition penalty of the checkpoint, which distort confidence.

    Args:
        model: a transformers causal language model in eval mode, on its device.
        device: name of that device.
        pad_id: fills rows up on the left; masked, so its value does not change an answer.
    """

    def __init__(self, model: Any, *, device: str, pad_id: int) -> None:  # noqa: ANN401 untyped library
        self._model = model
        self._device = device
        self._pad_id = pad_id
        self._call_tokens = CALL_TOKENS[device.partition(":")[0]]
        self._takes_positions = "position_ids" in inspect.signature(model.forward).parameters
        self._shared: Any = None
        self._shared_tokens = 0

    @property
    def max_positions(self) -> int | None:
        """Longest row the model takes; None if it does not say."""
        limit = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        return int(limit) if limit else None

    def share(self, ids: Sequence[int]) -> bool:
        """Compute what rows begin with once; return False if this model cannot share it."""
        self._shared = compute_shared(self._model, ids, device=self._device)
        self._shared_tokens = len(ids) if self._shared is not None else 0
        return self._shared is not None

    def stop_sharing(self) -> None:
        """Forget the shared beginning; rows must be whole again."""
        self._shared, self._shared_tokens = None, 0

    def first_tokens(
        self, rows: Rows, wanted: Sequence[int], *, after_shared: bool = False
    ) -> list[FirstToken]:
        """Return what follows each row, in the order of ``rows``.

        Args:
            rows: token ids, at least one each.
            wanted: token ids whose log-probabilities are returned.
            after_shared: the rows go on behind the shared beginning and do not hold it.
        """
        import torch

        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
        groups = plan_groups([len(rows[i]) for i in order], call_tokens=self._call_tokens)
        ids = torch.tensor(wanted, device=self._device)
        with torch.inference_mode():
            parts = [
                self._read([rows[i] for i in order[start:end]], ids, after_shared=after_shared)
                for start, end in groups
            ]
            numbers = [torch.cat(column).tolist() for column in zip(*parts, strict=True)]
        firsts: list[FirstToken | None] = [None] * len(rows)
        for i, values, top_id, top in zip(order, *numbers, strict=True):
            firsts[i] = FirstToken(dict(zip(wanted, values, strict=True)), top_id, top)
        return [first for first in firsts if first is not None]

    def generate(
        self, rows: Rows, *, max_new_tokens: int, end_ids: Sequence[int]
    ) -> list[list[int]]:
        """Return the greedy continuation of each row, without the token that ends it.

        Args:
            rows: token ids, at least one each.
            max_new_tokens: of the continuation.
            end_ids: tokens that end it.
        """
        import torch
        from transformers import GenerationConfig

        ids, mask = self._padded(rows)
        # Everything in one config: mixing it with arguments lets the checkpoint's own values in.
        config = GenerationConfig(
            do_sample=False,
            max_new_tokens=max_new_tokens,
            repetition_penalty=1.0,
            eos_token_id=list(end_ids) or None,
            pad_token_id=self._pad_id,
        )
        with torch.inference_mode():
            whole = self._model.generate(
                input_ids=ids, attention_mask=mask, generation_config=config
            )
        return [_until(new, set(end_ids)) for new in whole[:, ids.shape[1] :].tolist()]

    def _read(self, rows: Rows, wanted: Any, *, after_shared: bool) -> tuple[Any, Any, Any]:  # noqa: ANN401 tensors
        logits = self._logits(rows, after_shared=after_shared)  # (B, V)
        total = logits.logsumexp(-1)  # (B,)
        top, top_ids = logits.max(-1)  # (B,)
        return logits[:, wanted] - total[:, None], top_ids, top - total  # (B, U), (B,), (B,)

    def _logits(self, rows: Rows, *, after_shared: bool) -> Any:  # noqa: ANN401 tensor
        import torch

        ids, mask = self._padded(rows)
        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
        before = self._shared_tokens if after_shared else 0
        if before:
            ones = torch.ones((len(rows), before), dtype=mask.dtype, device=mask.device)
            inputs["attention_mask"] = torch.cat([ones, mask], dim=1)  # (B, P + T)
            inputs |= {"past_key_values": self._shared, "use_cache": True}
        if self._takes_positions:
            inputs["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0) + before  # (B, T)
        return self._model(**inputs, logits_to_keep=1).logits[:, -1].float()  # (B, V)

    def _padded(self, rows: Rows) -> tuple[Any, Any]:
        """Pad on the left: the last column then holds the last token of every row."""
        import torch

        lengths = np.array([len(row) for row in rows])
        longest = int(lengths.max())
        mask = np.arange(longest) >= longest - lengths[:, None]  # (B, T)
        ids = np.full(mask.shape, self._pad_id, dtype=np.int64)
        ids[mask] = np.concatenate(rows)
        return (
            torch.from_numpy(ids).to(self._device),
            torch.from_numpy(mask.astype(np.int64)).to(self._device),
        )


def _until(ids: list[int], ended: set[int]) -> list[int]:
    end = next((i for i, token in enumerate(ids) if token in ended), len(ids))
    return ids[:end]
