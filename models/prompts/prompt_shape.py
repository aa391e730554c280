"""A prompt with a placeholder for the text, as token ids.

The rendered chat contains a mark in place of the text. Control tokens split it into pieces that are
tokenised separately, so tokenising only the piece with the text gives the same ids as tokenising
the whole prompt, and no text can change the structure of the template.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from streamlabel.config.task import DelimiterSettings
from streamlabel.errors import ConfigError, ModelLoadError
from streamlabel.models.core.surrogates import without_surrogates
from streamlabel.models.prompts.phrases import escape_delimiters
from streamlabel.models.prompts.prompt_tokens import PromptTokenizer, Tokens
from streamlabel.models.tokens.seen import Seen, is_visible

__all__ = ["MARK", "EncodedText", "Keep", "Prompt", "common_beginning"]

Keep = Literal["head_tail", "head"]

MARK = "[[streamlabel:text]]"
# Texts that could merge with the surrounding prompt in different ways; used to find the common
# prefix of all prompts and to check at start that separate tokenising changes nothing.
PROBES = ("a", "Hello, world.", "12", "\n\n", "  b  ", "你好。", "!?", "</", "é")
# Maximum characters per available token; a longer text is truncated before it is tokenised, so that
# a text of 5 MB does not have to be tokenised completely.
CHARS_PER_TOKEN = 32
LEAST_TEXT_TOKENS = 16  # a prompt with less room for the text is a configuration error


@dataclass(frozen=True, slots=True)
class EncodedText:
    """The whole prompt of one text.

    Attributes:
        ids: the input of the model, instruction and generation prompt included.
        truncated: the prompt does not contain the whole text.
        seen: how much of the text its tokens represent.
        is_shared: ``ids`` begins with ``Prompt.shared_ids``. All but a few prompts do.
    """

    ids: tuple[int, ...]
    truncated: bool
    is_shared: bool
    seen: Seen


class Prompt:
    """The prompt of one task for one model.

    Args:
        strips: white space around a text is removed, as the template does.

    Attributes:
        prefix_ids: before the piece that contains the text; ends with a control token.
        suffix_ids: after that piece, up to the model's answer; starts with a control token.
        shared_ids: common prefix of all prompts, computed once or cached by engines.
        rendered: the chat with MARK in place of the text.
        max_tokens: longest prompt.
        around_tokens: of everything around a text.
    """

    def __init__(
        self,
        rendered: str,
        *,
        tokenizer: PromptTokenizer,
        delimiters: DelimiterSettings | None,
        max_tokens: int,
        keep: Keep,
        strips: bool = False,
    ) -> None:
        self.rendered = rendered
        self._strips = strips
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
        inner = len(tokenizer.plain(self._left + self._right).ids)
        self.around_tokens = len(self.prefix_ids) + inner + len(self.suffix_ids)
        self.shared_ids: tuple[int, ...] = ()
        self._prove()
        self.shared_ids = common_beginning([self.encode(probe).ids for probe in PROBES])

    def encode(self, text: str) -> EncodedText:
        """Return the prompt for ``text``; if it does not fit, only the text is truncated."""
        text, was_cut = self._shorten(without_surrogates(text))
        text = self._as_written(text)
        written = self._left + text + self._right
        piece = self._tokenizer.plain(written)
        end = len(self._left) + len(text)
        if len(piece.ids) > self._budget:
            piece = self._cut(piece, end)
            was_cut = True
        whole = (*self.prefix_ids, *piece.ids, *self.suffix_ids)
        is_shared = whole[: len(self.shared_ids)] == self.shared_ids
        return EncodedText(whole, was_cut, is_shared, self._look(piece, written, end))

    def _as_written(self, text: str) -> str:
        """Return the text as the template would write it."""
        return escape_delimiters(text.strip() if self._strips else text, self._delimiters)

    def _look(self, piece: Tokens, written: str, text_end: int) -> Seen:
        """Return how much of the text its tokens represent; the first may begin before the text."""
        start = len(self._left)

        def is_of_text(span: tuple[int, int]) -> bool:
            begin, end = max(span[0], start), min(span[1], text_end)
            return begin < end and (span == (begin, end) or is_visible(written[begin:end]))

        return self._tokenizer.seen.look(_ids(piece, is_of_text))

    def _shorten(self, text: str) -> tuple[str, bool]:
        limit = CHARS_PER_TOKEN * self._budget
        if len(text) <= limit:
            return text, False
        if self._keep == "head":
            return text[:limit], True
        return text[: limit // 2] + text[-(limit // 2) :], True

    def _cut(self, piece: Tokens, text_end: int) -> Tokens:
        """Remove tokens of the text only; a token with a character outside of it is kept."""
        before = sum(start < len(self._left) for start, _ in piece.spans)
        after = sum(end > text_end for _, end in piece.spans)
        room = self._budget - before - after
        tail = room // 2 if self._keep == "head_tail" else 0
        head_end = before + room - tail
        tail_start = len(piece.ids) - after - tail
        return Tokens(
            (*piece.ids[:head_end], *piece.ids[tail_start:]),
            (*piece.spans[:head_end], *piece.spans[tail_start:]),
        )

    def _prove(self) -> None:
        room = self.max_tokens - self.around_tokens
        if room < LEAST_TEXT_TOKENS:
            raise ConfigError(
                f"model.max_tokens: instruction, examples and chat template use"
                f" {self.max_tokens - room} of {self.max_tokens} tokens and leave no room for a"
                " text; raise it, or shorten model.task"
            )
        for probe in PROBES:
            apart = self.encode(probe)
            text = self._as_written(probe)
            joint = self._tokenizer.trusted(self.rendered.replace(MARK, text)).ids
            if apart.ids != joint and not apart.truncated:
                raise ModelLoadError(
                    "model.path: the tokenizer returns other tokens for a whole prompt than for its"
                    f" pieces (at {probe!r}); choose a model with a tokenizer.json that splits at"
                    " control tokens"
                )

    def digest(self, *parts: object) -> str:
        """Return the prompt's version: 12 hex digits of everything around a text, and ``parts``."""
        content = [self.prefix_ids, self._left, self._right, self.suffix_ids, *parts]
        return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()[:12]


def _ids(tokens: Tokens, choose: Callable[[tuple[int, int]], bool]) -> tuple[int, ...]:
    return tuple(t for t, span in zip(tokens.ids, tokens.spans, strict=True) if choose(span))


def common_beginning(rows: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the tokens with which all rows begin."""
    columns = enumerate(zip(*rows, strict=False))
    length = next((i for i, column in columns if len(set(column)) > 1), min(map(len, rows)))
    return rows[0][:length]
