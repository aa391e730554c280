"""Tokenises prompts so that a text never produces control tokens.

``split_special_tokens`` of transformers is not enough: it covers only added tokens that are marked
special, so ``<think>`` or ``<tool_call>`` in a text still become control tokens (seen with 5.19);
and it modifies the shared tokenizer, so it is not thread-safe. Hence two private tokenizers.
"""

import json
from dataclasses import dataclass
from typing import Any

from streamlabel.errors import ModelLoadError
from streamlabel.models.core.surrogates import without_surrogates
from streamlabel.models.tokens.seen import SeenTokens

__all__ = ["PromptTokenizer", "Tokens"]

# Control tokens that are not marked special look like <think> or [INST]. Other added tokens are
# runs of spaces or domain-specific words, which have no structural meaning.
BRACKETS = frozenset("<>[]{}|")


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids with the character span [start, end) of each."""

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]


class PromptTokenizer:
    """Tokenises the operator's strings with control tokens, and texts without them.

    Both methods are safe to call from several threads.

    Attributes:
        seen: reports how much of a text its tokens represent.
        size: all tokens of texts are below this number.

    Args:
        spec: the fast tokenizer as JSON (``backend_tokenizer.to_str()``).
        vocabulary: number of tokens of the model; None: unknown. A tokenizer may have more: control
            tokens that neither a prompt nor a text contains do no harm.

    Raises:
        ModelLoadError: it is not the JSON of a fast tokenizer, or a text could have a token that
            the model does not know.
    """

    def __init__(self, spec: str, *, vocabulary: int | None = None) -> None:
        from tokenizers import Tokenizer

        try:
            tree: dict[str, Any] = json.loads(spec)
        except ValueError as error:
            raise ModelLoadError("the tokenizer is not a fast one (tokenizer.json)") from error
        tree["truncation"] = tree["padding"] = None
        self._trusted = Tokenizer.from_str(json.dumps(tree))
        controls = [
            token
            for token in tree["added_tokens"]
            if (token["special"] or BRACKETS & {*token["content"]})
            # The unknown token is not a control token, although it looks like one.
            and token["content"] != _unknown(tree["model"])
        ]
        for token in controls:
            token["special"] = True
        self.controls: dict[int, str] = {token["id"]: token["content"] for token in controls}
        _never_first(tree["pre_tokenizer"])
        self._plain = Tokenizer.from_str(json.dumps(tree))
        self._plain.encode_special_tokens = True  # meaning: encode them as text
        self.seen = SeenTokens(self._plain)
        self._vocabulary = vocabulary
        ordinary = [
            token for token in self._plain.get_vocab().values() if token not in self.controls
        ]
        self.size = 1 + max(ordinary, default=0)
        if vocabulary is not None and self.size > vocabulary:
            raise ModelLoadError(
                f"model.path: the tokenizer has tokens up to {self.size - 1} for texts, and the"
                f" model {vocabulary} tokens; save the tokenizer that the model was trained with"
            )

    def trusted(self, text: str) -> Tokens:
        """Return the tokens of ``text``; control tokens written in it become control tokens.

        Raises:
            ModelLoadError: one of them is not in the model's vocabulary. A device would fail on it,
                and CUDA would lose its context.
        """
        encoding = self._trusted.encode(text, add_special_tokens=False)
        if not self.knows(max(encoding.ids, default=0)):
            raise ModelLoadError(
                f"model.path: the prompt contains {self.name(max(encoding.ids))!r}, a token of the"
                f" tokenizer that the model, with {self._vocabulary} tokens, does not have; save"
                " the tokenizer that the model was trained with, or set model.chat_template"
            )
        return Tokens(tuple(encoding.ids), tuple(encoding.offsets))

    def knows(self, token: int) -> bool:
        """Return whether the model has this token."""
        return self._vocabulary is None or token < self._vocabulary

    def plain(self, text: str) -> Tokens:
        """Return the tokens of ``text``; none is a control token, whatever the text contains.

        The text is tokenised as if it followed a control token. Lone surrogates become U+FFFD.
        """
        text = without_surrogates(text)
        encoding = self._plain.encode(text, add_special_tokens=False)
        if self.controls.keys().isdisjoint(encoding.ids):
            return Tokens(tuple(encoding.ids), tuple(encoding.offsets))
        return self._char_by_char(text)

    def _char_by_char(self, text: str) -> Tokens:
        """Tokenise by character, if merges would form a control token; slow, but rarely needed."""
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        for place, char in enumerate(text):
            for token in self._plain.encode(char, add_special_tokens=False).ids:
                if token not in self.controls:
                    ids.append(token)
                    spans.append((place, place + 1))
        return Tokens(tuple(ids), tuple(spans))

    def decode(self, ids: list[int] | tuple[int, ...]) -> str:
        """Return the text of ``ids``, including control tokens."""
        return str(self._trusted.decode(list(ids), skip_special_tokens=False))

    def name(self, token: int) -> str | None:
        """Return how the vocabulary spells a token ("æĺ¯" for 是 in a byte-level BPE)."""
        name = self._trusted.id_to_token(token)
        return None if name is None else str(name)

    def id_of(self, name: str) -> int | None:
        """Return the token with this spelling in the vocabulary; the inverse of ``name``."""
        token = self._trusted.token_to_id(name)
        return None if token is None else int(token)

    def controls_in(self, text: str) -> list[str]:
        """Return the control tokens that occur in ``text``."""
        return [content for content in self.controls.values() if content in text]


def _unknown(model: dict[str, Any]) -> object:
    """Return how the vocabulary spells the unknown token; None if it has none."""
    place = model.get("unk_id")
    return model.get("unk_token") if place is None else model["vocab"][place][0]


def _never_first(step: dict[str, Any] | None) -> None:
    """Disable the space that SentencePiece adds at the start: a text never starts a prompt."""
    for part in [step, *(step or {}).get("pretokenizers", [])]:
        if part and part.get("prepend_scheme") == "first":
            part["prepend_scheme"] = "never"
