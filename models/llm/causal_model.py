"""Runs a causal language model with transformers: first-token log-probabilities, greedy text."""

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlabel.models.encoder.call_groups import CallGroups
from streamlabel.models.encoder.padded import filled
from streamlabel.models.label_scoring.answer import FirstToken
from streamlabel.models.llm.shared_prefix import compute_shared
from streamlabel.models.tokens.rows import Rows

__all__ = ["CausalModel"]


class CausalModel:
    """A model on its device; not thread-safe, and its methods block.

    First tokens are read from one forward pass and never from ``generate``'s scores: logits
    processors, such as the repetition penalty of the checkpoint, have already changed those, which
    distorts the confidence.

    Args:
        model: a transformers causal language model in eval mode, on its device.
        device: name of that device.
        pad_id: padding token, used on the left; masked, so its value does not affect results.
    """

    def __init__(self, model: Any, *, device: str, pad_id: int) -> None:  # noqa: ANN401 untyped library
        from transformers import GenerationConfig

        # ``generate`` takes every value that it is not given from here: the checkpoint's suppressed
        # tokens, n-gram bans, lengths or beams would change what is written.
        model.generation_config = GenerationConfig()
        self._model = model
        self._device = device
        self._pad_id = pad_id
        self._calls = CallGroups(device)
        self._takes_positions = "position_ids" in inspect.signature(model.forward).parameters
        # Only rows of one length are computed together: see ``models.encoder.independence``.
        self.needs_equal_lengths = False
        self._shared: Any = None
        self._shared_tokens = 0

    @property
    def max_positions(self) -> int | None:
        """Maximum length in the model's configuration; None if it states none."""
        limit = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        return int(limit) if limit and limit > 0 else None

    def share(self, ids: Sequence[int]) -> bool:
        """Compute the common prefix of rows once; return False if this model cannot share it."""
        self._shared = compute_shared(self._model, ids, device=self._device)
        self._shared_tokens = len(ids) if self._shared is not None else 0
        return self._shared is not None

    @property
    def shared(self) -> object:
        """The prefix that is shared now, to be used again later; opaque."""
        return self._shared, self._shared_tokens

    @shared.setter
    def shared(self, kept: Any) -> None:  # noqa: ANN401 what the property returned
        self._shared, self._shared_tokens = kept

    def stop_sharing(self) -> None:
        """Drop the shared prefix; rows must be complete again."""
        self._shared, self._shared_tokens = None, 0

    def first_tokens(
        self, rows: Rows, wanted: Sequence[int], *, after_shared: bool = False
    ) -> list[FirstToken]:
        """Return the distribution of the token after each row, in the order of ``rows``.

        Args:
            rows: token ids, at least one each.
            wanted: token ids whose log-probabilities are returned.
            after_shared: the rows continue the shared prefix and do not contain it.
        """
        import torch

        order, groups = self._groups(rows)
        ids = torch.tensor(wanted, device=self._device)
        lengths = [len(rows[i]) for i in order]
        with torch.inference_mode(), self._calls.measured(lengths, groups):
            parts = [
                self._read([rows[i] for i in order[start:end]], ids, after_shared=after_shared)
                for start, end in groups
            ]
            numbers = [torch.cat(column).tolist() for column in zip(*parts, strict=True)]
        firsts: list[FirstToken | None] = [None] * len(rows)
        for i, values, top_id, top in zip(order, *numbers, strict=True):
            firsts[i] = FirstToken(dict(zip(wanted, values, strict=True)), top_id, top)
        return [first for first in firsts if first is not None]

    def logits(
        self, rows: Rows, wanted: Sequence[int], *, after_shared: bool = False
    ) -> NDArray[np.float32]:
        """Return the logits (R, U) of the wanted tokens after each row; for the checks at load."""
        import torch

        with torch.inference_mode():
            logits = self._logits(rows, after_shared=after_shared)[:, list(wanted)]
            found: NDArray[np.float32] = logits.cpu().numpy()
        return found

    def generate(
        self, rows: Rows, *, max_new_tokens: int, end_ids: Sequence[int]
    ) -> list[list[int]]:
        """Return the greedy continuation of each row, without the token that ends it.

        Args:
            rows: token ids, at least one each.
            max_new_tokens: of the continuation.
            end_ids: tokens that end it.
        """
        written: list[list[int]] = [[] for _ in rows]
        order, groups = self._groups(rows)
        for start, end in groups if self.needs_equal_lengths else [(0, len(rows))]:
            places = order[start:end]
            new = self._generate([rows[i] for i in places], max_new_tokens, end_ids)
            for i, ids in zip(places, new, strict=True):
                written[i] = ids
        return written

    @property
    def attention(self) -> str:
        """Name of the implementation of attention, as transformers calls it."""
        return str(getattr(self._model.config, "_attn_implementation", None) or "eager")

    @property
    def caps_attention(self) -> bool:
        """Whether the model's configuration states a soft cap of attention."""
        config = self._model.config.get_text_config()
        return any(
            value and "attn" in name and "softcap" in name.replace("_", "")
            for name, value in config.to_dict().items()
        )

    def use_attention(self, name: str) -> None:
        """Compute attention with another implementation, if the model has several."""
        self._model.set_attn_implementation(name)

    def plain_probabilities(self, row: Sequence[int]) -> Any:  # noqa: ANN401 tensor
        """Return the probabilities (V,) of the token after a row, by one plain forward pass."""
        import torch

        with torch.inference_mode():
            ids = torch.tensor([list(row)], device=self._device)
            logits = self._model(input_ids=ids).logits[0, -1]  # (V,)
            return logits.float().softmax(-1).cpu()

    def served_probabilities(self, row: Sequence[int]) -> Any:  # noqa: ANN401 tensor
        """Return the same as it is served, without other rows."""
        import torch

        with torch.inference_mode():
            return self._logits([np.array(row)], after_shared=False)[0].softmax(-1).cpu()

    def _groups(self, rows: Rows) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the order of rows, longest first, and the groups [start, end) to run together."""
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
        lengths = [len(rows[i]) for i in order]
        return order, self._calls.plan(lengths, may_pad=not self.needs_equal_lengths)

    def _generate(self, rows: Rows, max_new_tokens: int, end_ids: Sequence[int]) -> list[list[int]]:
        import torch
        from transformers import GenerationConfig

        ids, mask = self._padded(rows)
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
        """Pad on the left, so that the last column has the last token of every row."""
        import torch

        lengths = np.array([len(row) for row in rows])
        mask = filled(lengths, "left")  # (B, T)
        ids = np.full(mask.shape, self._pad_id, dtype=np.int64)
        ids[mask] = np.concatenate(rows)
        return (
            torch.from_numpy(ids).to(self._device),
            torch.from_numpy(mask.astype(np.int64)).to(self._device),
        )


def _until(ids: list[int], ended: set[int]) -> list[int]:
    end = next((i for i, token in enumerate(ids) if token in ended), len(ids))
    return ids[:end]
