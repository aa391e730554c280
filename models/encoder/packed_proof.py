"""Chooses between the packed and the padded way, after a proof that the packed one is equal.

A table can be wrong for a model whose config.json says something that no table knows, or for
another version of transformers. So the packed encoder of every family but BERT, whose computation
has not changed for years, computes random rows beside transformers before it is used.
"""

from typing import Final

import numpy as np
import structlog

from streamlabel.models.core.labels import ProblemType
from streamlabel.models.core.probabilities import Floats
from streamlabel.models.devices.device import Device, device_errors
from streamlabel.models.encoder.independence import tolerance
from streamlabel.models.encoder.packed_forward import PackedForward
from streamlabel.models.encoder.packed_weights import Unpacked, family_of, load_packed
from streamlabel.models.encoder.precision import EXACT, Precision, worst_difference
from streamlabel.models.encoder.pretrained import load_padded
from streamlabel.models.files.checkpoint import Checkpoint
from streamlabel.models.tokens.rows import Rows, Types
from streamlabel.models.tokens.token_types import TokenTypes

__all__ = ["PackedLoader", "proof_limit", "proof_rows", "proof_types"]

logger = structlog.get_logger(__name__)

# Lengths of the rows between the special tokens: none, a few, and beyond the widths at which
# attention by distance changes (128 tokens in MPNet, 128 in DeBERTa, 64 in ModernBERT).
_LENGTHS: Final = (0, 1, 1, 2, 3, 5, 8, 8, 13, 21, 34, 150)
_SEED: Final = 17


class PackedLoader:
    """Loads a model for the packed way, in any precision, if it is proven.

    Args:
        checkpoint: its files.
        device: where it computes.
        types: token types of its tokenizer; None if it has none.
        rows: random rows for the proof.
        problem_type: how logits become probabilities.
        row_types: their token types, if it reads pairs and its tokenizer gives some.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: Device,
        types: TokenTypes | None,
        rows: Rows,
        problem_type: ProblemType,
        *,
        row_types: Types | None = None,
    ) -> None:
        self._checkpoint = checkpoint
        self._device = device
        self._types = types
        self._rows = rows
        self._row_types = row_types
        self._problem_type: ProblemType = problem_type
        self._is_proven = False
        self._is_refused = False

    def load(self, way: Precision) -> PackedForward | None:
        """Return the packed model; None if transformers has to compute it, which is logged.

        Raises:
            ModelLoadError: the model cannot be loaded at all.
        """
        if self._is_refused:
            return None
        try:
            return self._load(way)
        except Unpacked as reason:
            # also of a faster precision: then no precision is packed, so that they can be compared
            self._is_refused = True
            logger.info("padded_forward", model=self._checkpoint.name, why=str(reason))
            return None

    def _load(self, way: Precision) -> PackedForward:
        if self._types is not None and not self._types.are_all_zero:
            raise Unpacked("its tokenizer gives token types other than 0")
        if not self._is_proven and not family_of(self._checkpoint.config).is_proven:
            exact = load_packed(self._checkpoint, self._device, EXACT)
            self._prove(exact)
            if way == EXACT:
                return exact
        return load_packed(self._checkpoint, self._device, way)

    def _prove(self, packed: PackedForward) -> None:
        """Raise Unpacked if the packed model differs from transformers, both in float32."""
        difference = self._difference(packed)
        limit = tolerance("float32")
        if not difference <= limit:  # NaN is too far, too
            raise Unpacked(
                f"its probabilities differ from those of transformers by {difference:.2g} on random"
                f" rows, more than {limit}"
            )
        self._is_proven = True
        logger.info(
            "packed_forward_proven",
            model=self._checkpoint.name,
            rows=len(self._rows),
            difference=f"{difference:.1g}",
            limit=limit,
        )

    def _difference(self, packed: PackedForward) -> float:
        plain = load_padded(self._checkpoint, self._device, dtype="float32", types=self._types)
        plain.padding = "none"  # nothing but the computation is compared
        with device_errors(self._device):
            right = plain.logits(self._rows, self._row_types)
            found = packed.logits(self._rows, self._row_types)
        return _worst(right, found, self._problem_type)


def _worst(right: Floats, found: Floats, problem_type: ProblemType) -> float:
    usable = np.isfinite(right).all(axis=-1)  # no prediction of other rows is published anyway
    if not usable.any():
        return float("nan")
    return worst_difference(right[usable], found[usable], problem_type)


def proof_rows(
    vocabulary: int, before: tuple[int, ...], after: tuple[int, ...], *, limit: int | None
) -> Rows:
    """Return rows of random tokens, special ones too, the same in every run.

    Args:
        vocabulary: number of tokens.
        before: special tokens in front of every row.
        after: special tokens behind every row.
        limit: longest row of the model, in tokens.
    """
    rng = np.random.default_rng(_SEED)
    room = max(0, (limit or max(_LENGTHS)) - len(before) - len(after))
    lengths = [min(length, room) for length in _LENGTHS if length or before or after]
    return [
        np.array((*before, *rng.integers(0, vocabulary, length), *after), dtype=np.int32)
        for length in lengths
    ]


def proof_types(rows: Rows, highest: int) -> Types | None:
    """Return random token types of rows, the same in every run; None if 0 is the only one.

    Args:
        rows: of the proof.
        highest: token type that the tokenizer gives in a pair.
    """
    if highest == 0:
        return None
    rng = np.random.default_rng(_SEED)
    return [rng.integers(0, highest + 1, len(row)).astype(np.int32) for row in rows]


def proof_limit(checkpoint: Checkpoint) -> int | None:
    """Return a length that the model certainly takes; the exact limit is known only once it runs.

    Families that count positions from the padding token lose its entry and those before it; MPNet
    always counts from 2, whatever its padding token is.
    """
    positions = checkpoint.stated_positions()
    if positions is None:
        return None
    padding = checkpoint.config.get("pad_token_id")
    return positions - max(1, int(padding or 0)) - 1
