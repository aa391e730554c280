"""Prompts as chat messages; the endpoint renders and tokenises them, so texts are escaped.

Here the tokenizer cannot keep control tokens out of a text. So strings that look like a control
token of a common chat template, and the delimiters, are escaped with a space, and a text is
truncated by characters.
"""

import hashlib
import json
import re
from dataclasses import dataclass

from streamlabel.config.engines import RemoteSettings
from streamlabel.config.task import TaskSettings
from streamlabel.errors import ConfigError
from streamlabel.models.core.surrogates import without_surrogates
from streamlabel.models.prompts.build_prompt import Message
from streamlabel.models.prompts.phrases import (
    AnswerKind,
    escape_delimiters,
    render_phrases,
    second_try,
)
from streamlabel.models.prompts.score_json import Fault

__all__ = ["CutText", "RemotePrompt", "answer_forms", "without_controls"]

# <|im_end|>, <|eot_id|>, <think>, </tool_call>, <start_of_turn>, <s>, [INST], <<SYS>>
CONTROLS = re.compile(
    r"<[|｜][^<>|｜]{1,40}[|｜]>"  # noqa: RUF001 DeepSeek's full-width bars
    r"|</?(?:s|think|thinking|tool_call|tool_response|tools|start_of_turn|end_of_turn|bos|eos|pad)>"
    r"|\[/?(?:INST|SYSTEM_PROMPT|TOOL_CALLS)\]"
    r"|<</?SYS>>",
    re.IGNORECASE,
)
_CHARS_PER_TOKEN = 3  # estimate between English and Chinese, for batch sizes only


@dataclass(frozen=True, slots=True)
class CutText:
    """A text that fits.

    Attributes:
        text: not longer than the limit in characters.
        truncated: it was longer.
        tokens: estimated tokens of the text and its prompt.
    """

    text: str
    truncated: bool
    tokens: int


class RemotePrompt:
    """The prompt of one task.

    Raises:
        ConfigError: the task needs a feature that endpoints do not offer.
    """

    def __init__(self, task: TaskSettings, answers: AnswerKind, *, max_chars: int) -> None:
        if task.answer_prefix:
            raise ConfigError(
                "model.task.answer_prefix: an endpoint does not accept the beginning of the answer;"
                " remove it"
            )
        self._task = task
        self._answers: AnswerKind = answers
        self._wording = render_phrases(task, answers)
        self._max_chars = max_chars
        self._before: list[Message] = [{"role": "system", "content": self._wording.system}]
        for question, answer in self._wording.examples:
            self._before += [
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer},
            ]
        prompt_chars = sum(len(message["content"]) for message in self._before)
        self._prompt_tokens = prompt_chars // _CHARS_PER_TOKEN

    def cut(self, text: str) -> CutText:
        """Return the text as it is sent; of a text that is too long, both ends."""
        clean = without_surrogates(text)
        truncated = len(clean) > self._max_chars
        if truncated:
            half = self._max_chars // 2
            clean = clean[: self._max_chars - half] + clean[len(clean) - half :]
        tokens = 1 + self._prompt_tokens + len(clean) // _CHARS_PER_TOKEN
        return CutText(clean, truncated, tokens)

    def messages(self, text: str, fault: Fault | None = None) -> list[Message]:
        """Return the chat for a text that was cut.

        Args:
            text: from ``cut``.
            fault: the fault of the first answer, for a second try.
        """
        safe = without_controls(escape_delimiters(text, self._task.delimiters))
        note = f"\n\n{second_try(self._task, fault)}" if fault else ""
        content = self._wording.before + safe + self._wording.after + note
        return [*self._before, {"role": "user", "content": content}]

    def digest(self, *parts: object) -> str:
        """Return the prompt's version: 12 hex digits of everything around a text, and ``parts``."""
        content = [self.messages(""), self._answers, *parts]
        return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()[:12]


def without_controls(text: str) -> str:
    """Return the text with a space inside everything that looks like a control token."""
    while CONTROLS.search(text):
        text = CONTROLS.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)
    return text


def answer_forms(settings: RemoteSettings) -> tuple[tuple[str, ...], ...]:
    """Return the answers of each label; an endpoint's tokens are compared with them unchanged.

    " Yes" is not "Yes": the candidates may contain both forms of one label but only one form of
    another, so counting both would favour a label. If the model begins with a space, the task must
    list that form.

    Raises:
        ConfigError: an answer is a prefix of another label's answer, so its token could mean both.
    """
    task = settings.task
    if task.scoring == "trie":
        raise ConfigError(
            "model.task.scoring: trie needs reads that no endpoint offers; set one_token, with"
            " answer_with: letters, or model.method: prompted"
        )
    forms = task.forms
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
