"""Computes what the prompts of a batch begin with once, and pads nothing.

Prompts of one task begin with the same instruction, which is often longer than the texts. So the
rows of a batch are laid out as one: the common beginning, then the rest of each row. A token sees
the beginning and its own row, at the positions that it would have alone, so logits and gradients
are those of separate rows, up to the order of summation.

Source of the idea: the shared prefixes of inference engines, for instance vLLM's prefix cache.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import structlog

from streamlabel.training.training_rows import LENGTH_STEP

__all__ = ["LEAST_SHARED", "Packed", "pack", "sees_only_the_mask", "shared_length"]

logger = structlog.get_logger(__name__)

LEAST_SHARED: Final = 8  # shorter beginnings are not worth a mask
# The mask has a place for every pair of tokens: 16 million are 16 MB, and 64 MB in float32.
_MOST_TOKENS: Final = 4096
# Largest difference of a logit that rounding explains: in units of their spread, and in steps of
# the data type at the largest logit. From 32 to 64 a step of bfloat16 is 0.25, whatever the spread.
_CLOSE: Final[Mapping[str, float]] = MappingProxyType({"float32": 1e-3, "bfloat16": 0.1})
_STEPS: Final = 2
_TRIED_ROWS: Final = 4


class Packed:
    """The rows of a batch as one row.

    The last tokens belong to no row: they see themselves, and nobody reads them.

    Attributes:
        ids: shape (1, T).
        positions: shape (1, T), each token's place in its own prompt.
        mask: shape (1, 1, T, T), True where a token sees another.
        ends: shape (B,), the place of each prompt's last token.
    """

    def __init__(self, rows: Sequence[Any], shared: int) -> None:
        import torch

        lengths = torch.tensor([len(row) - shared for row in rows])
        total = shared + int(lengths.sum())
        spare = -total % LENGTH_STEP
        rows = [*rows, rows[0][:1].repeat(shared + spare)]
        lengths = torch.cat([lengths, torch.tensor([spare])])
        owner = torch.zeros(total + spare, dtype=torch.long)  # 0: of all rows
        owner[shared:] = torch.repeat_interleave(torch.arange(1, len(rows) + 1), lengths)
        starts = lengths.cumsum(0) - lengths
        places = torch.arange(total + spare)
        own = shared + places[: len(places) - shared] - torch.repeat_interleave(starts, lengths)
        self.ids = torch.cat([rows[0][:shared], *(row[shared:] for row in rows)])[None]
        self.positions = torch.cat([places[:shared], own])[None]
        is_seen = (owner[None, :] == 0) | (owner[None, :] == owner[:, None])  # (T, T)
        self.mask = (is_seen & (places[None, :] <= places[:, None]))[None, None]
        self.ends = shared + lengths[:-1].cumsum(0) - 1


def shared_length(rows: Sequence[Any]) -> int:
    """Return how many tokens all rows begin with; at least one of each row is left."""
    import torch

    most = min(map(len, rows)) - 1
    heads = torch.stack([row[:most] for row in rows])  # (B, most)
    is_same = (heads == heads[0]).all(0)
    return int(is_same.long().cumprod(0).sum())


def pack(rows: Sequence[Any]) -> Packed | None:
    """Return the rows as one; None if they have too little in common, or are too many."""
    if len(rows) < 2:
        return None
    shared = shared_length(rows)
    total = shared + sum(len(row) - shared for row in rows)
    return Packed(rows, shared) if shared >= LEAST_SHARED and total <= _MOST_TOKENS else None


def sees_only_the_mask(model: Any, rows: Sequence[Any]) -> bool:  # noqa: ANN401 torch modules
    """Return whether packed rows have the logits of separate ones; computes a few rows twice.

    A model whose layers carry a state along the row, or look back only so far, does not.

    Args:
        model: ``answer_tuning.answer_model``.
        rows: token ids, of one order of the labels.
    """
    import torch

    from streamlabel.training.frozen_layers import padded

    if not _is_full_attention(model.model.config):
        return False
    was_training = model.training
    model.eval()
    tried = rows[:_TRIED_ROWS]
    try:
        with torch.inference_mode():
            model.packs = False
            apart = model(*padded(tried)).logits
            model.packs = True
            together = model(*padded(tried)).logits
    # A model may refuse such a mask in any way.
    except Exception as error:  # noqa: BLE001 see above
        logger.info("prompts_not_shared", reason=type(error).__name__)
        return False
    finally:
        model.packs = False
        model.train(was_training)
    moved = float((apart - together).abs().max())
    spread = max(1.0, float(apart.std()))
    step = torch.finfo(getattr(torch, model.precision)).eps * float(apart.abs().max())
    is_close = moved <= max(_CLOSE[model.precision] * spread, _STEPS * step)
    if not is_close:
        logger.info("prompts_not_shared", reason="logits_differ", difference=moved, spread=spread)
    return is_close


def _is_full_attention(config: Any) -> bool:  # noqa: ANN401 transformers is untyped
    """Return whether every layer sees the whole row; short rows do not show it."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    kinds = getattr(text, "layer_types", None)
    if kinds:
        return {*kinds} == {"full_attention"}
    uses = getattr(text, "use_sliding_window", True)
    return not (uses and getattr(text, "sliding_window", None))
