"""Prompts as token ids: everything but the text is rendered once; the text is data.

The chat template is rendered with a mark in place of the text. Control tokens cut the result into
pieces that are tokenised apart from each other, so tokenising only the piece with the text gives
the same ids as tokenising the whole prompt, and no text can change the template's structure.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from streamlabel.config.task import DelimiterSettings, TaskSettings
from streamlabel.errors import ConfigError, ModelLoadError
from streamlabel.models.prompt_tokens import PromptTokenizer, Tokens
from streamlabel.models.tokens import without_surrogates
from streamlabel.models.wording import AnswerKind, defuse, word

__all__ = ["EncodedText", "Keep", "Message", "Prompt", "RenderTemplate", "build_prompt"]

Message = dict[str, str]
# messages, add_generation_prompt -> rendered chat; raises ValueError if the template refuses them
RenderTemplate = Callable[[Sequence[Message], bool], str]
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


def build_prompt(
    task: TaskSettings,
    *,
    answers: AnswerKind,
    render: RenderTemplate,
    tokenizer: PromptTokenizer,
    max_tokens: int,
    keep: Keep = "head_tail",
    note: str = "",
) -> Prompt:
    """Return the prompt of ``task``: instruction, definitions, examples, then the text.

    Args:
        task: what to ask.
        answers: what the model is told to answer with.
        render: the chat template, thinking turned off.
        tokenizer: of the model.
        max_tokens: longest prompt.
        keep: which end of a longer text stays.
        note: put behind the text, for a second try.

    Raises:
        ConfigError: the task contains control tokens, or leaves no room for a text.
        ModelLoadError: the template does not show what it is given, or starts a thought.
    """
    wording = word(task, answers)
    last = wording.before + MARK + wording.after + (f"\n\n{note}" if note else "")
    turns = [turn for example in wording.examples for turn in _turns(*example)]
    messages = [*turns, {"role": "user", "content": last}]
    for message in ({"content": wording.system}, *messages):
        _refuse_controls(message["content"], tokenizer)
    rendered = _render(wording.system, messages, render) + task.answer_prefix
    return Prompt(
        rendered,
        tokenizer=tokenizer,
        delimiters=task.delimiters,
        max_tokens=max_tokens,
        keep=keep,
    )


def _turns(question: str, answer: str) -> list[Message]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _refuse_controls(text: str, tokenizer: PromptTokenizer) -> None:
    found = tokenizer.controls_in(text)
    if found:
        raise ConfigError(
            f"model.task: it contains {found[0]!r}, a control token of this model, which would"
            " change the structure of every prompt; write it differently"
        )


def _render(system: str, messages: list[Message], render: RenderTemplate) -> str:
    """Put the instruction into a system turn, or where there is none into the first user turn."""
    first, *rest = messages
    merged = {"role": "user", "content": f"{system}\n\n{first['content']}"}
    refusal = ""
    for attempt in ([{"role": "system", "content": system}, *messages], [merged, *rest]):
        try:
            rendered = render(attempt, True)
        except ValueError as error:
            refusal = f" ({error})"
            continue
        if rendered.count(MARK) == 1 and all(m["content"].strip() in rendered for m in attempt):
            return _refuse_thinking(rendered)
    raise ModelLoadError(
        f"model.chat_template: the chat template does not show the instruction, the examples and"
        f" the text as given{refusal}; set model.chat_template to a file that does"
    )


def _refuse_thinking(rendered: str) -> str:
    if rendered.rfind("<think>") > rendered.rfind("</think>"):
        raise ModelLoadError(
            "model.path: the chat template starts a thought before the answer, so the first token"
            " is no answer; name a model whose template takes enable_thinking=false, or set"
            " model.chat_template"
        )
    return rendered


def _ids(tokens: Tokens, choose: Callable[[tuple[int, int]], bool]) -> tuple[int, ...]:
    return tuple(t for t, span in zip(tokens.ids, tokens.spans, strict=True) if choose(span))


def _common_beginning(rows: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    columns = enumerate(zip(*rows, strict=False))
    length = next((i for i, column in columns if len(set(column)) > 1), min(map(len, rows)))
    return rows[0][:length]
