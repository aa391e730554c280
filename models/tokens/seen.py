"""How much of a text its tokens represent; an unknown token represents nothing.

With an English vocabulary, emoji or Thai become unknown tokens, and some characters become no token
at all. The prediction is then that for an empty text, with the same confidence.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from streamlabel.errors import InferenceError
from streamlabel.models.core.classifier import Prediction, PreparedText
from streamlabel.models.core.values import value

__all__ = ["Seen", "SeenTokens", "is_visible", "with_seen"]

# Cuneiform and old Cyrillic: almost no vocabulary has them, and their UTF-8 encodings share no
# byte, so a token that both texts have is the unknown token.
_RARE: Final = ("\U00012000", "\ua66e")
_INVISIBLE: Final = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf", "Mn", "Me"})  # categories of Unicode
# Characters that vocabularies use for the space before a word.
_SPACES: Final = "\u2581\u0120 "


@value
class Seen:
    """How much of a text reaches the model.

    Attributes:
        unknown_share: in [0, 1], the fraction of unknown tokens among those that stand for
            something visible; None if the tokenizer has no unknown token because it falls back to
            bytes.
        is_unreadable: all tokens are unknown, white space or control tokens, or there are none.
    """

    unknown_share: float | None = None
    is_unreadable: bool = False


class SeenTokens:
    """Inspects the tokens of texts; safe to call from several threads.

    Args:
        backend: a ``tokenizers.Tokenizer`` that neither pads nor truncates.

    Attributes:
        unknown_id: the token for text that is not in the vocabulary; None if there is none.
    """

    def __init__(self, backend: Any) -> None:  # noqa: ANN401 untyped library
        self._backend = backend
        self._says: dict[int, bool] = {}  # filled as tokens come
        self.unknown_id = _find_unknown(backend)
        self._all = Seen(None if self.unknown_id is None else 0.0)

    def look(self, ids: Sequence[int]) -> Seen:
        """Return how much of a text its tokens, without special tokens, represent."""
        unknown = ids.count(self.unknown_id) if self.unknown_id is not None else 0
        if not unknown:
            return self._all if any(map(self._says_something, ids)) else self._nothing()
        known = sum(map(self._says_something, ids))
        if not known:
            return self._nothing()
        return Seen(round(unknown / (unknown + known), 4))

    def _nothing(self) -> Seen:
        return Seen(None if self.unknown_id is None else 1.0, is_unreadable=True)

    def _says_something(self, token: int) -> bool:
        says = self._says.get(token)
        if says is None:
            says = self._says[token] = token != self.unknown_id and is_visible(
                self._backend.decode([token], skip_special_tokens=True)
            )
        return says


def with_seen(
    prepared: Sequence[PreparedText], outcomes: Sequence[Prediction | InferenceError]
) -> list[Prediction | InferenceError]:
    """Return the outcomes, completed with the Seen of each text."""
    return [
        replace(outcome, unknown_share=text.unknown_share, is_unreadable=text.is_unreadable)
        if isinstance(outcome, Prediction)
        else outcome
        for text, outcome in zip(prepared, outcomes, strict=True)
    ]


def is_visible(text: str) -> bool:
    """Return whether a character is neither space, control, format nor combining mark."""
    return any(unicodedata.category(char) not in _INVISIBLE for char in text)


def _find_unknown(backend: Any) -> int | None:  # noqa: ANN401 untyped library
    """Return the unknown token, found by trial, because not every model declares it."""
    seen = [set(backend.encode(char, add_special_tokens=False).ids) for char in _RARE]
    name = getattr(backend.model, "unk_token", None)
    named = backend.token_to_id(name) if name else None
    if named is not None and any(named in ids for ids in seen):
        return int(named)
    shared = [
        token for token in set.intersection(*seen) if str(backend.id_to_token(token)).strip(_SPACES)
    ]
    return int(shared[0]) if len(shared) == 1 else None
