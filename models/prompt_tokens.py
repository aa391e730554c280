"""Tokenises prompts so that a text stays a text.

``split_special_tokens`` of transformers is not enough: it spares only added tokens marked special,
so ``<think>`` or ``<tool_call>`` in a text still become control tokens (seen with 5.19); and it
changes the shared tokenizer, so two threads disturb each other. Hence two private tokenizers.
"""

import json
from dataclasses import dataclass
from typing import Any

from streamlabel.errors import ModelLoadError
from streamlabel.models.tokens import without_surrogates

__all__ = ["PromptTokenizer", "Tokens"]

# Control tokens that are not marked special look like <think> or [INST]. Other added tokens are
# runs of spaces or words of a trade; they carry no structure.
BRACKETS = frozenset("<>[]{}|")


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids with the characters [start, end) that each one stands for."""

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]


class PromptTokenizer:
    """Tokenises what the operator wrote with control tokens, and texts without any.

    Both methods are safe to call from several threads.

    Args:
        spec: the fast tokenizer as JSON (``backend_tokenizer.to_str()``).

    Raises:
        ModelLoadError: it is no fast tokenizer's JSON.
    """

    def __init__(self, spec: str) -> None:
        from tokenizers import Tokenizer

        try:
            tree: dict[str, Any] = json.loads(spec)
        except ValueError as error:
            raise ModelLoadError("the tokenizer is no fast tokenizer (tokenizer.json)") from error
        tree["truncation"] = tree["padding"] = None
        self._trusted = Tokenizer.from_str(json.dumps(tree))
        controls = [t for t in tree["added_tokens"] if t["special"] or BRACKETS & {*t["content"]}]
        for token in controls:
            token["special"] = True
        self.controls: dict[int, str] = {token["id"]: token["content"] for token in controls}
        _never_first(tree["pre_tokenizer"])
        self._plain = Tokenizer.from_str(json.dumps(tree))
        self._plain.encode_special_tokens = True  # read: do not look for them in the text

    def trusted(self, text: str) -> Tokens:
        """Return the tokens of ``text``; control tokens written in it become control tokens."""
        encoding = self._trusted.encode(text, add_special_tokens=False)
        return Tokens(tuple(encoding.ids), tuple(encoding.offsets))

    def plain(self, text: str) -> Tokens:
        """Return the tokens of ``text``, none of them a control token, whatever is written in it.

        The text is taken as standing behind a control token. Lone surrogates become U+FFFD.
        """
        text = without_surrogates(text)
        encoding = self._plain.encode(text, add_special_tokens=False)
        if self.controls.keys().isdisjoint(encoding.ids):
            return Tokens(tuple(encoding.ids), tuple(encoding.offsets))
        return self._char_by_char(text)

    def _char_by_char(self, text: str) -> Tokens:
        """A vocabulary whose merges spell a control token: rare, so slow is good enough."""
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        for place, char in enumerate(text):
            for token in self._plain.encode(char, add_special_tokens=False).ids:
                if token not in self.controls:
                    ids.append(token)
                    spans.append((place, place + 1))
        return Tokens(tuple(ids), tuple(spans))

    def decode(self, ids: list[int] | tuple[int, ...]) -> str:
        """Return the text of ``ids``, control tokens written out."""
        return str(self._trusted.decode(list(ids), skip_special_tokens=False))

    def name(self, token: int) -> str | None:
        """Return how the vocabulary spells a token ("æĺ¯" for 是 in a byte-level BPE)."""
        name = self._trusted.id_to_token(token)
        return None if name is None else str(name)

    def id_of(self, name: str) -> int | None:
        """Return the token that the vocabulary spells like this; undoes ``name``."""
        token = self._trusted.token_to_id(name)
        return None if token is None else int(token)

    def controls_in(self, text: str) -> list[str]:
        """Return the control tokens that ``text`` spells."""
        return [content for content in self.controls.values() if content in text]


def _never_first(step: dict[str, Any] | None) -> None:
    """SentencePiece puts a space before the first word of a prompt; a text never is the first."""
    for part in [step, *(step or {}).get("pretokenizers", [])]:
        if part and part.get("prepend_scheme") == "first":
            part["prepend_scheme"] = "never"
