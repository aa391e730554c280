"""Control tokens, which the text of a row with several texts must not contain.

``encode_special_tokens`` of tokenizers (``split_special_tokens`` of transformers) is not enough: a
vocabulary of SentencePiece pieces has the control tokens among its pieces, so ``</s>`` in a text
becomes the separator all the same (seen with tokenizers 0.23).
"""

import re
from collections.abc import Collection
from typing import Any

from streamlabel.models.tokens.seen import SeenTokens

__all__ = ["Controls"]


class Controls:
    """Keeps control tokens out of texts; safe to call from several threads.

    Args:
        backend: a ``tokenizers.Tokenizer`` that encodes special tokens as text.
        structure: the tokens around the texts of a row.

    Attributes:
        ids: those of ``structure`` and all added tokens that are marked special, but the unknown
            token, which stands for text.
    """

    def __init__(self, backend: Any, structure: Collection[int]) -> None:  # noqa: ANN401 untyped
        added = backend.get_added_tokens_decoder()
        special = {token for token, about in added.items() if about.special}
        self._unknown = SeenTokens(backend).unknown_id
        self.ids = frozenset({*structure, *special} - {self._unknown})
        formed = [
            spelling
            for spelling in map(backend.id_to_token, sorted(self.ids))
            if not self.ids.isdisjoint(backend.encode(spelling, add_special_tokens=False).ids)
        ]
        # any case, because the tokenizer may lower it
        self._formed = re.compile("|".join(map(re.escape, formed)), re.IGNORECASE)
        self._are_formed = bool(formed)

    def as_text(self, text: str) -> str:
        """Return the text with a space within each spelling that would become a control token."""
        if not self._are_formed:
            return text
        return self._formed.sub(lambda found: f"{found[0][:1]} {found[0][1:]}", text)

    def replaced(self, ids: list[int]) -> list[int]:
        """Return the tokens of a text with the unknown token in place of control tokens.

        There are some only if the tokenizer's normalization made their spelling of other
        characters. Without an unknown token they are left out.
        """
        if self.ids.isdisjoint(ids):
            return ids
        if self._unknown is None:
            return [token for token in ids if token not in self.ids]
        return [self._unknown if token in self.ids else token for token in ids]
