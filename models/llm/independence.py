"""Proof at load that a language model's answer is independent of the other texts of a batch."""

from functools import partial
from typing import Final

import structlog

from streamlabel.errors import ModelLoadError
from streamlabel.models.core.probabilities import Floats
from streamlabel.models.devices.device import device_errors
from streamlabel.models.encoder.independence import company_rows, describe, settle_padding
from streamlabel.models.encoder.padded import Padding
from streamlabel.models.llm.loading import LoadedCausal
from streamlabel.models.tokens.rows import Rows

__all__ = ["settle_company", "settle_shared_company"]

logger = structlog.get_logger(__name__)

# Number of different tokens in the rows, and of tokens whose logits are compared.
_TOKENS: Final = 64
_COMPARED: Final = 16
# Tokens generated in the test; the second and later ones use the KV cache.
_WRITTEN: Final = 4


def settle_company(loaded: LoadedCausal, *, writes: bool) -> str:
    """Make answers independent of the batch; return how, for ``streamlabel check``.

    Args:
        loaded: the model; afterwards it may accept only rows of one length.
        writes: the model also generates text after rows of different lengths.

    Raises:
        ModelLoadError: answers depend on the other rows even without padding.
    """
    padding, moved = _settle(loaded, after_shared=False)
    loaded.model.needs_equal_lengths = padding == "none"
    # In 16 bits two tokens can have equal logits, so generated text may differ; there only the
    # logits are compared.
    if writes and loaded.dtype == "float32":
        if padding != "none" and not _writes_alike(loaded):
            logger.warning("rows_of_one_length_only", why="padding changes generated text")
            padding = "none"
            loaded.model.needs_equal_lengths = True
        if padding == "none" and not _writes_alike(loaded):
            raise ModelLoadError(
                "model.path: the text that this model generates depends on the other texts of the"
                " batch, even without padding; choose another model"
            )
    return describe(padding, moved)


def settle_shared_company(loaded: LoadedCausal) -> bool:
    """Return whether answers after the shared instruction are independent of the batch."""
    padding, _ = _settle(loaded, after_shared=True)
    return padding != "none" or loaded.model.needs_equal_lengths


def _settle(loaded: LoadedCausal, *, after_shared: bool) -> tuple[Padding, float]:
    tokens = _ordinary(loaded)
    read = partial(loaded.model.logits, wanted=tokens[:_COMPARED], after_shared=after_shared)

    def together(rows: Rows, padding: Padding) -> Floats:
        del padding  # always on the left; rows of one length have none
        with device_errors(loaded.device):
            return read(rows)

    return settle_padding(
        partial(together, padding="none"),
        together,
        company_rows(tokens, (), (), limit=None),
        sides=("left",),
        dtype=loaded.dtype,
        problem_type="single_label",
    )


def _writes_alike(loaded: LoadedCausal) -> bool:
    rows = company_rows(_ordinary(loaded), (), (), limit=None)
    with device_errors(loaded.device):
        alone = [loaded.model.generate([row], max_new_tokens=_WRITTEN, end_ids=()) for row in rows]
        return [ids for (ids,) in alone] == loaded.model.generate(
            rows, max_new_tokens=_WRITTEN, end_ids=()
        )


def _ordinary(loaded: LoadedCausal) -> list[int]:
    """Return token ids that stand for text."""
    controls = loaded.chat.tokens.controls
    size = loaded.chat.size
    numbers = [number for number in range(size // 2, size) if number not in controls]
    return numbers[:_TOKENS]
