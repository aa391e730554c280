"""A prompt with one place for a text, as token ids.

The rendered chat holds a mark in place of the text. Control tokens cut it into pieces that are
tokenised apart from each other, so tokenising only the piece with the text gives the same ids as
tokenising the whole prompt, and no text can change the template's structure.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from streamlabel.config.task import DelimiterSettings
from streamlabel.errors import ConfigError, ModelLoadError
from streamlabel.models.prompt_tokens import PromptTokenizer, Tokens
from streamlabel.models.tokens import without_surrogates
from streamlabel.models.wording import defuse

__all__ = ["MARK", "EncodedText", "Keep", "Prompt"]

Keep = Literal["head_tail", "head"]

MARK = "[[streamlabel:text]]"
# Texts that meet their surroundings in different ways; used to find what all prompts share and to
# prove at start that tokenising apart changes nothing.
PROBES = ("a", "Hello, world.", "12", "\n\n", "  b  ", "你好。", "!?", "</", "é")
# A text longer than this per token of its budget is cut before it is tokenised: 5 MB of text must
# not cost 5 MB of tokenising.
CHARS_PER_TOKEN = 32
LEAST_TEXT_TOKENS = 16  # less room than this is a mistake in the configuration


@dataclass(frozen=True, slots=True)
class EncodedText:
    """The whole prompt of one text.

    Attributes:
        ids: what the model reads, instruction and generation prompt included.
        truncated: not all of the text is in it.
        is_shared: ``ids`` begins with ``Prompt.shared_ids``. All but a few prompts do.
    """

    ids: tuple[int, ...]
    truncated: bool
    is_shared: bool


class Prompt:
    """The prompt of one task for one model.

    Attributes:
        prefix_ids: before the piece that holds the text; ends with a control token.
        suffix_ids: after that piece, up to where the model answers; starts with a control token.
        shared_ids: what prompts begin with, whatever the text: computed once, cached by engines.
        rendered: the chat with MARK in place of the text.
        max_tokens: longest prompt.
    """

    def __init__(
        self,
        rendered: str,
        *,
        tokenizer: PromptTokenizer,
        delimiters: DelimiterSettings | None,
        max_tokens: int,
        keep: Keep,
    ) -> None:
        self.rendered = rendered
        self.max_tokens = max_tokens
        self._tokenizer = tokenizer
        self._delimiters = delimiters
        self._keep = keep
        mark = rendered.index(MARK)
        whole = tokenizer.trusted(rendered)
        controls = [
            span
            for token, span in zip(whole.ids, whole.spans, strict=True)
            if token in tokenizer.controls
        ]
        start = max((end for _, end in controls if end <= mark), default=0)
        end = min(
            (begin for begin, _ in controls if begin >= mark + len(MARK)), default=len(rendered)
        )
        self.prefix_ids = _ids(whole, lambda span: span[1] <= start)
        self.suffix_ids = _ids(whole, lambda span: span[0] >= end)
        self._left = rendered[start:mark]
        self._right = rendered[mark + len(MARK) : end]
        self._budget = max_tokens - len(self.prefix_ids) - len(self.suffix_ids)
        self.shared_ids: tuple[int, ...] = ()
        self._prove()
        self.shared_ids = _common_beginning([self.encode(probe).ids for probe in PROBES])

    def encode(self, text: str) -> EncodedText:
        """Return the prompt for ``text``; only the text is cut if it does not fit."""
        text, was_cut = self._shorten(without_surrogates(text))
        text = defuse(text, self._delimiters)
        piece = self._tokenizer.plain(self._left + text + self._right)
        ids = piece.ids
        if len(ids) > self._budget:
            ids = self._cut(piece, len(self._left) + len(text))
            was_cut = True
        whole = (*self.prefix_ids, *ids, *self.suffix_ids)
        is_shared = whole[: len(self.shared_ids)] == self.shared_ids
        return EncodedText(whole, was_cut, is_shared)

    def _shorten(self, text: str) -> tuple[str, bool]:
        limit = CHARS_PER_TOKEN * self._budget
        if len(text) <= limit:
            return text, False
        if self._keep == "head":
            return text[:limit], True
        return text[: limit // 2] + text[-(limit // 2) :], True

    def _cut(self, piece: Tokens, text_end: int) -> tuple[int, ...]:
        """Cut tokens of the text alone; one that also holds a character around it stays."""
        before = sum(start < len(self._left) for start, _ in piece.spans)
        after = sum(end > text_end for _, end in piece.spans)
        room = self._budget - before - after
        tail = room // 2 if self._keep == "head_tail" else 0
        head_end = before + room - tail
        return (*piece.ids[:head_end], *piece.ids[len(piece.ids) - after - tail :])

    def _prove(self) -> None:
        around = len(self._tokenizer.plain(self._left + self._right).ids)
        room = self._budget - around
        if room < LEAST_TEXT_TOKENS:
            raise ConfigError(
                f"model.max_tokens: instruction, examples and chat template take"
                f" {self.max_tokens - room} of {self.max_tokens} tokens and leave no room for a"
                " text; raise it, or shorten model.task"
            )
        for probe in PROBES:
            apart = self.encode(probe)
            text = defuse(probe, self._delimiters)
            joint = self._tokenizer.trusted(self.rendered.replace(MARK, text)).ids
            if apart.ids != joint and not apart.truncated:
                raise ModelLoadError(
                    "model.path: the tokenizer gives other tokens for a prompt as a whole than for"
                    f" its pieces (at {probe!r}); name a model with a tokenizer.json that splits at"
                    " control tokens"
                )

    def digest(self, *parts: object) -> str:
        """Return the prompt's version: 12 hex digits of everything around a text, and ``parts``."""
        content = [self.prefix_ids, self._left, self._right, self.suffix_ids, *parts]
        return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()[:12]


def _ids(tokens: Tokens, choose: Callable[[tuple[int, int]], bool]) -> tuple[int, ...]:
    return tuple(t for t, span in zip(tokens.ids, tokens.spans, strict=True) if choose(span))


def _common_beginning(rows: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    columns = enumerate(zip(*rows, strict=False))
    length = next((i for i, column in columns if len(set(column)) > 1), min(map(len, rows)))
    return rows[0][:length]
