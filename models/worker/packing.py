"""Texts and predictions as columns, for the way between the service and its worker process.

Columns cost the parent's event loop about a microsecond per record, because it does not build or
read objects that it does not use. The payload of a prepared text stays pickled in the parent;
probabilities are one block of doubles.
"""

import pickle
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import chain, repeat
from operator import attrgetter
from typing import Any, Final, TypeVar, cast

from streamlabel.errors import InferenceError
from streamlabel.models.core.classifier import Prediction, PreparedText

__all__ = [
    "PackedPredictions",
    "PackedPrepared",
    "open_prepared",
    "pack_predictions",
    "pack_prepared",
    "seal_prepared",
    "unpack_predictions",
    "unpack_prepared",
]

T = TypeVar("T")

_PICKLE_PROTOCOL: Final = 5


@dataclass(frozen=True, slots=True)
class PackedPrepared:
    """Prepared texts by column; ``errors`` are keyed by index and have no column entries."""

    tokens: list[int]
    payloads: list[Any]
    rows: list[int]
    truncated: list[bool]
    unknown_shares: list[float | None]
    unreadable: list[bool]
    errors: dict[int, InferenceError]


@dataclass(frozen=True, slots=True)
class PackedPredictions:
    """Predictions by column; ``errors`` as in PackedPrepared.

    Attributes:
        blocks: field name -> (K, doubles of all rows), for fields in which every row has K numbers.
        columns: field name -> values; a field that is the default everywhere has no column.
    """

    items: int
    blocks: dict[str, tuple[int, bytes]]
    columns: dict[str, list[Any]]
    errors: dict[int, InferenceError]


def pack_prepared(outcomes: Sequence[PreparedText | InferenceError]) -> PackedPrepared:
    """Turn prepared texts into columns; payloads are passed on unchanged."""
    prepared, errors = _split(outcomes)
    return PackedPrepared(
        [text.tokens for text in prepared],
        [text.payload for text in prepared],
        [text.rows for text in prepared],
        [text.truncated for text in prepared],
        [text.unknown_share for text in prepared],
        [text.is_unreadable for text in prepared],
        errors,
    )


def unpack_prepared(packed: PackedPrepared) -> list[PreparedText | InferenceError]:
    """The inverse of pack_prepared."""
    return _merge(map(PreparedText, *_columns(packed, packed.payloads)), packed.errors)


def seal_prepared(outcomes: Sequence[PreparedText | InferenceError]) -> PackedPrepared:
    """In the worker: pack prepared texts, with each payload pickled separately."""
    packed = pack_prepared(outcomes)
    packed.payloads[:] = [pickle.dumps(payload, _PICKLE_PROTOCOL) for payload in packed.payloads]
    return packed


def open_prepared(packed: PackedPrepared) -> list[PreparedText]:
    """In the worker: the inverse of seal_prepared, for texts without an error."""
    payloads = map(pickle.loads, packed.payloads)
    return list(map(PreparedText, *_columns(packed, payloads)))


def _columns(packed: PackedPrepared, payloads: Iterable[Any]) -> tuple[Iterable[Any], ...]:
    """Return a column for each field of PreparedText, in their order."""
    return (
        packed.tokens,
        payloads,
        packed.rows,
        packed.truncated,
        packed.unknown_shares,
        packed.unreadable,
    )


_BLOCKS: Final = ("probabilities", "log_scores")
_DEFAULTS: Final[dict[str, Any]] = {
    field.name: None if field.name in _BLOCKS else field.default for field in fields(Prediction)
}
_VALUE_OF: Final = {name: attrgetter(name) for name in _DEFAULTS}


def pack_predictions(outcomes: Sequence[Prediction | InferenceError]) -> PackedPredictions:
    """Turn predictions into columns."""
    predictions, errors = _split(outcomes)
    blocks: dict[str, tuple[int, bytes]] = {}
    columns: dict[str, list[Any]] = {}
    for name, default in _DEFAULTS.items():
        values = list(map(_VALUE_OF[name], predictions))
        if values.count(default) == len(values):
            continue
        is_block = name in _BLOCKS and None not in values
        width = len(values[0]) if is_block else 0
        if width and set(map(len, values)) == {width}:
            blocks[name] = (width, array("d", chain.from_iterable(values)).tobytes())
        else:
            columns[name] = values
    return PackedPredictions(len(predictions), blocks, columns, errors)


def unpack_predictions(packed: PackedPredictions) -> list[Prediction | InferenceError]:
    """The inverse of pack_predictions."""
    columns: list[Iterable[Any]] = []
    for name, default in _DEFAULTS.items():
        if name in packed.blocks:
            width, doubles = packed.blocks[name]
            numbers = iter(memoryview(doubles).cast("d").tolist())
            columns.append(zip(*[numbers] * width, strict=True))  # tuples of width numbers each
        else:
            columns.append(packed.columns.get(name) or repeat(default, packed.items))
    return _merge(map(Prediction, *columns), packed.errors)


def _split(outcomes: Sequence[T | InferenceError]) -> tuple[list[T], dict[int, InferenceError]]:
    errors = {
        index: outcome
        for index, outcome in enumerate(outcomes)
        if isinstance(outcome, InferenceError)
    }
    if not errors:
        return list(cast("Sequence[T]", outcomes)), errors
    return [outcome for outcome in outcomes if not isinstance(outcome, InferenceError)], errors


def _merge(values: Iterable[T], errors: dict[int, InferenceError]) -> list[T | InferenceError]:
    outcomes: list[T | InferenceError] = list(values)
    for index in sorted(errors):
        outcomes.insert(index, errors[index])
    return outcomes
