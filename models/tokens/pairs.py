"""Pairs of texts in one row, as the tokenizer's own template joins them."""

from dataclasses import dataclass
from typing import Any, Final

from streamlabel.errors import ConfigError, ModelLoadError

__all__ = ["PairTemplate", "cut_pair", "read_pair_template"]

_FIRST: Final = "a b"
_SECOND: Final = "b a b"


@dataclass(frozen=True, slots=True)
class PairTemplate:
    """The special tokens of a row with two texts, and the token types.

    Attributes:
        before: special tokens in front of the first text.
        between: special tokens between the texts; may be none.
        after: special tokens behind the second text.
        types: types of ``before``, the first text, ``between``, the second text and ``after``.
    """

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    types: tuple[tuple[int, ...], int, tuple[int, ...], int, tuple[int, ...]]

    @property
    def special_tokens(self) -> tuple[int, ...]:
        """All tokens around the texts."""
        return (*self.before, *self.between, *self.after)

    def capacity_tokens(self, max_tokens: int) -> int:
        """Return how many tokens of both texts together fit in a row.

        Raises:
            ConfigError: less than one of each.
        """
        capacity = max_tokens - len(self.special_tokens)
        if capacity < 2:
            raise ConfigError(
                "model.max_tokens: the special tokens leave no room for two texts; raise it"
            )
        return capacity

    def ids(self, first: list[int], second: list[int]) -> list[int]:
        """Return the row of two texts."""
        return [*self.before, *first, *self.between, *second, *self.after]

    def types_of(self, first: int, second: int) -> list[int]:
        """Return the token types of a row with so many tokens of the first and second text."""
        before, of_first, between, of_second, after = self.types
        return [*before, *[of_first] * first, *between, *[of_second] * second, *after]

    @property
    def highest_type(self) -> int:
        """The highest token type that a row has."""
        return max(self.types_of(1, 1))


def cut_pair(first: int, second: int, capacity: int) -> tuple[int, int]:
    """Return how many tokens of each text a row keeps: the longer one loses its end first.

    The rule is ``longest_first`` of tokenizers, which ``truncation=True`` of transformers means: a
    text up to half of the capacity is whole, and two longer ones get half each, the longer one, or
    the second of two equal ones, the odd token.

    Args:
        first: tokens of the first text.
        second: tokens of the second text.
        capacity: tokens for both.
    """
    if first + second <= capacity:
        return first, second
    shorter, longer = sorted((first, second))
    longer = max(shorter, capacity - shorter) if shorter <= capacity else shorter
    if shorter + longer > capacity:
        shorter = capacity // 2
        longer = shorter + capacity % 2
    return (longer, shorter) if first > second else (shorter, longer)


def read_pair_template(backend: Any) -> PairTemplate:  # noqa: ANN401 untyped library
    """Return how a tokenizer joins two texts.

    Args:
        backend: a ``tokenizers.Tokenizer`` that neither pads nor truncates.

    Raises:
        ModelLoadError: it does not put the texts one behind the other.
    """
    first: list[int] = backend.encode(_FIRST, add_special_tokens=False).ids
    second: list[int] = backend.encode(_SECOND, add_special_tokens=False).ids
    whole = backend.encode(_FIRST, _SECOND)
    ids, types = tuple(whole.ids), tuple(whole.type_ids)
    # Which text a token is of; not found by its ids, because nothing may be between the texts.
    at = [place for place, text in enumerate(whole.sequence_ids) if text == 0]
    to = [place for place, text in enumerate(whole.sequence_ids) if text == 1]
    one, two = (slice(min(p, default=0), max(p, default=-1) + 1) for p in (at, to))
    is_whole = bool(at and to) and (list(ids[one]), list(ids[two])) == (first, second)
    if not is_whole or one.stop > two.start:
        raise ModelLoadError(
            "model.conversations: the tokenizer does not put two texts one behind the other; set it"
            " to false, or name a model with a BERT-type tokenizer"
        )
    between = slice(one.stop, two.start)
    before, after = slice(0, one.start), slice(two.stop, len(ids))
    return PairTemplate(
        ids[before],
        ids[between],
        ids[after],
        (types[before], types[one.start], types[between], types[two.start], types[after]),
    )
