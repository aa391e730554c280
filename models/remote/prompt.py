"""Prompts as chat messages; the endpoint renders and tokenises them, so texts are escaped.

Here the tokenizer cannot keep control tokens out of a text. So strings that look like a control
token of a common chat template, and the delimiters, are escaped with a space.
"""

import asyncio
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace

from streamlabel.config.engines import RemoteSettings
from streamlabel.errors import ConfigError, InferenceError
from streamlabel.models.core.turns import Turn, read_turns
from streamlabel.models.prompts.build_prompt import Message
from streamlabel.models.prompts.phrases import (
    AnswerKind,
    escape_delimiters,
    render_phrases,
    second_try,
)
from streamlabel.models.prompts.score_json import Fault
from streamlabel.models.prompts.turn_prompts import transcript
from streamlabel.models.remote.cutting import Cutter, CutText
from streamlabel.models.remote.turns import cut_turns

__all__ = ["RemotePrompt", "answer_forms", "is_forced", "without_controls"]

# <|im_end|>, <|eot_id|>, <think>, </tool_call>, <start_of_turn>, <s>, [INST], <<SYS>>
CONTROLS = re.compile(
    r"<[|｜][^<>|｜]{1,40}[|｜]>"  # noqa: RUF001 DeepSeek's full-width bars
    r"|</?(?:s|think|thinking|tool_call|tool_response|tools|start_of_turn|end_of_turn|bos|eos|pad)>"
    r"|\[/?(?:INST|SYSTEM_PROMPT|TOOL_CALLS)\]"
    r"|<</?SYS>>",
    re.IGNORECASE,
)


class RemotePrompt:
    """The prompt of one task.

    Attributes:
        cutter: of its texts.

    Raises:
        ConfigError: the task needs a feature that endpoints do not offer.
    """

    def __init__(self, settings: RemoteSettings, answers: AnswerKind, *, cutter: Cutter) -> None:
        task = settings.task
        self._settings = settings
        if answers == "scores" and task.answer_prefix != task.answer_prefix.strip():
            raise ConfigError(
                "model.task.answer_prefix: a chat template may drop white space at either end of"
                " it; remove that, and begin the answers with it, if the model does so"
            )
        if task.prompt_file is not None:
            raise ConfigError(
                "model.task.prompt_file: an endpoint renders the prompt itself, with its model's"
                " own template; remove it: prompt: verbatim alone sends the text and nothing else"
            )
        self._task = task
        self._delimiters = None if task.prompt == "verbatim" else task.delimiters
        self._answers: AnswerKind = answers
        self._wording = render_phrases(task, answers)
        self.cutter = cutter
        self._begun: list[Message] = []
        if task.answer_prefix and answers == "scores":
            # of one-token answers the tokens are appended, see ``forced``
            self._begun.append({"role": "assistant", "content": task.answer_prefix})
        self._before: list[Message] = []
        if self._wording.system:
            self._before.append({"role": "system", "content": self._wording.system})
        for question, answer in self._wording.examples:
            self._before += [
                {"role": "user", "content": question},
                {"role": "assistant", "content": task.answer_prefix + answer},
            ]
        self._prompt_tokens = sum(cutter.cut(turn["content"]).tokens for turn in self._before)

    def cut(self, text: str) -> CutText | InferenceError:
        """Return the text as it is sent; of a text that is too long, both ends."""
        if self._task.conversations:
            found = cut_turns(text, self.cutter, self._settings)
            if isinstance(found, InferenceError):
                return found
        else:
            found = self.cutter.cut(text)
        return replace(found, tokens=1 + self._prompt_tokens + found.tokens)

    async def cut_all(self, texts: Sequence[str]) -> list[CutText | InferenceError]:
        """Return all texts as they are sent; tokenising takes time, so it is done in a thread."""
        if self.cutter.tokenizer is None:
            return [self.cut(text) for text in texts]
        return await asyncio.to_thread(lambda: [self.cut(text) for text in texts])

    def messages(self, text: str, fault: Fault | None = None) -> list[Message]:
        """Return the chat for a text that was cut, and the beginning of the answer if there is one.

        Args:
            text: from ``cut``.
            fault: the fault of the first answer, for a second try.
        """
        note = f"\n\n{second_try(self._task, fault)}" if fault else ""
        turns = read_turns(text) if self._task.conversations else (Turn("user", text),)
        if self._task.conversations and self._task.prompt == "verbatim":
            asked = [{"role": turn.role, "content": self._safe(turn.content)} for turn in turns]
        elif self._task.conversations:
            safe = [(turn.role, self._safe(turn.content)) for turn in turns]
            content = transcript(self._task, self._wording, safe)
            asked = [{"role": "user", "content": content + note}]
        else:
            content = self._wording.before + self._safe(text) + self._wording.after
            asked = [{"role": "user", "content": content + note}]
        return [*self._before, *asked, *self._begun]

    def _safe(self, text: str) -> str:
        return without_controls(escape_delimiters(text, self._delimiters))

    def digest(self, *parts: object) -> str:
        """Return the prompt's version: 12 hex digits of everything around a text, and ``parts``."""
        appended = (
            [self._task.answer_prefix] if self._task.answer_prefix and not self._begun else []
        )
        reasoning = self._task.reasoning
        appended += [] if reasoning is None else [reasoning.model_dump_json()]
        content = [self.messages(""), self._answers, *appended, *parts]
        return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()[:12]


def without_controls(text: str) -> str:
    """Return the text with a space inside everything that looks like a control token."""
    while CONTROLS.search(text):
        text = CONTROLS.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)
    return text


def is_forced(settings: RemoteSettings) -> bool:
    """Return whether the answers are read token by token, see ``forced``."""
    task = settings.task
    several = bool(task.answer_prefix) or task.scoring == "trie" or task.reasoning is not None
    return settings.method == "one_token" and several


def answer_forms(settings: RemoteSettings) -> tuple[tuple[str, ...], ...]:
    """Return the answers of each label; an endpoint's tokens are compared with them unchanged.

    " Yes" is not "Yes": the candidates may contain both forms of one label but only one form of
    another, so counting both would favour a label. If the model begins with a space, the task must
    list that form.

    Raises:
        ConfigError: an answer is a prefix of another label's answer, so its token could mean both.
    """
    task = settings.task
    forms = task.forms
    if is_forced(settings):  # compared as tokens
        return forms
    flat = [
        (form, label)
        for label, of_label in zip(task.names, forms, strict=True)
        for form in of_label
    ]
    for form, label in flat:
        for other, owner in flat:
            if owner != label and other.startswith(form):
                raise ConfigError(
                    f"model.task.labels: the answer {form!r} of {label!r} is a prefix of the answer"
                    f" {other!r} of {owner!r}, so its first token could mean both; set"
                    " model.task.answer_with: letters"
                )
    return forms
