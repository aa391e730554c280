"""Token types (segment ids) that the tokenizer gives to special tokens and to a text."""

from dataclasses import dataclass
from typing import Any

from streamlabel.models.tokens.text_tokenizer import PROBE

__all__ = ["TokenTypes", "read_token_types"]


@dataclass(frozen=True, slots=True)
class TokenTypes:
    """The types of a row of a single text. XLNet's and Funnel's class token has type 2, not 0.

    Attributes:
        before: types of the special tokens before a text.
        text: type of the text's tokens.
        after: types of the special tokens after the text.
    """

    before: tuple[int, ...] = ()
    text: int = 0
    after: tuple[int, ...] = ()

    @property
    def are_all_zero(self) -> bool:
        """Whether no token has another type than 0, which is every model's default."""
        return not any((*self.before, self.text, *self.after))

    def of_row(self, length: int) -> list[int]:
        """Return the types of a row of ``length`` tokens, special ones included."""
        return [
            *self.before,
            *[self.text] * (length - len(self.before) - len(self.after)),
            *self.after,
        ]


def read_token_types(backend: Any, *, before: int, after: int) -> TokenTypes:  # noqa: ANN401 untyped library
    """Return the types that a tokenizer gives.

    Args:
        backend: a ``tokenizers.Tokenizer`` that neither pads nor truncates.
        before: number of special tokens before a text.
        after: number of special tokens after it.
    """
    types: list[int] = backend.encode(PROBE).type_ids
    end = len(types) - after
    return TokenTypes(tuple(types[:before]), types[before], tuple(types[end:]))
