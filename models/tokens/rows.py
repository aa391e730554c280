"""Rows, the input of the device, built from texts."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamlabel.errors import InferenceError
from streamlabel.models.core.classifier import PreparedText
from streamlabel.models.core.values import value
from streamlabel.models.tokens.long_texts import LongTextPolicy
from streamlabel.models.tokens.text_tokenizer import Cut, TextTokenizer

__all__ = [
    "Forward",
    "RowBuilder",
    "Rows",
    "TextRows",
    "TypedRow",
    "Types",
    "read_rows",
    "read_types",
]

Rows = Sequence[NDArray[np.int32]]
# Token types (segment ids) of rows, each (T,); only for models that tell the texts of a pair apart.
Types = Sequence[NDArray[np.int32]]


class Forward(Protocol):
    """Computes logits of rows of token ids; blocks. Several threads may call a packed one."""

    def logits(self, rows: Rows, types: Types | None = None) -> NDArray[np.float32]:
        """Return logits (R, K) in the order of ``rows``; special tokens are in the rows.

        Args:
            rows: token ids, each (T,).
            types: of their tokens, each (T,); None: those of single texts.
        """
        ...


class TextRows(Protocol):
    """Builds the rows of texts."""

    @property
    def policy(self) -> LongTextPolicy:
        """What happens to long texts."""
        ...

    @property
    def digest(self) -> str:
        """Digest of all that the rows of a text depend on: equal ones build equal rows."""
        ...

    def build(self, texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        """Return the rows of each text, or an InferenceError for that text alone."""
        ...


@value
class TypedRow:
    """A row with its token types.

    Attributes:
        ids: bytes of int32.
        types: bytes of int32, as many.
    """

    ids: bytes
    types: bytes


@dataclass(frozen=True, slots=True)
class RowBuilder:
    """Builds rows from texts: tokens, cut by the long-text policy, between special tokens.

    Attributes:
        before: special tokens in front of every row.
        after: special tokens behind every row.
    """

    tokenizer: TextTokenizer
    before: tuple[int, ...]
    after: tuple[int, ...]
    policy: LongTextPolicy

    @property
    def digest(self) -> str:
        """Digest of all that the rows of a text depend on: equal ones build equal rows."""
        about = f"{self.before} {self.after} {self.policy} {self.tokenizer.definition}"
        return hashlib.sha256(about.encode()).hexdigest()

    def build(self, texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        """Return the rows of each text; the payload is one bytes of int32 per row."""
        return [
            cut if isinstance(cut, InferenceError) else self._rows(cut)
            for cut in self.tokenizer.encode(texts)
        ]

    def _rows(self, cut: Cut) -> PreparedText:
        rows = [
            np.array((*self.before, *cut.ids[start:end], *self.after), dtype=np.int32)
            for start, end in self.policy.spans(len(cut.ids))
        ]
        return PreparedText(
            tokens=len(rows[0]),  # only the last one can be shorter
            payload=tuple(row.tobytes() for row in rows),
            rows=len(rows),
            truncated=cut.has_more,
            unknown_share=cut.seen.unknown_share,
            is_unreadable=cut.seen.is_unreadable,
        )


def read_rows(prepared: Sequence[PreparedText]) -> Rows:
    """Return the rows of all texts, one text's rows after the other's."""
    return [
        np.frombuffer(row.ids if isinstance(row, TypedRow) else row, dtype=np.int32)
        for row in _rows_of(prepared)
    ]


def read_types(prepared: Sequence[PreparedText]) -> Types | None:
    """Return the token types of the same rows; None if they were built without types."""
    typed = [row for row in _rows_of(prepared) if isinstance(row, TypedRow)]
    return [np.frombuffer(row.types, dtype=np.int32) for row in typed] or None


def _rows_of(prepared: Sequence[PreparedText]) -> list[bytes | TypedRow]:
    return [row for text in prepared for row in text.payload]
