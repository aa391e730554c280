"""Builds the prompt of a task with the model's chat template."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from streamlabel.config.policies import PolicySettings
from streamlabel.config.reasoning import ReasoningSettings
from streamlabel.config.task import TaskSettings
from streamlabel.errors import ConfigError, ModelLoadError
from streamlabel.models.prompts.phrases import AnswerKind, render_phrases
from streamlabel.models.prompts.prompt_shape import MARK, EncodedText, Keep, Prompt
from streamlabel.models.prompts.prompt_tokens import PromptTokenizer
from streamlabel.models.prompts.turn_prompts import render_turns, verbatim_turns
from streamlabel.models.prompts.turns import ConversationPrompt
from streamlabel.models.prompts.verbatim import render_verbatim

__all__ = [
    "MARK",
    "EncodedText",
    "Keep",
    "Message",
    "Prompt",
    "RenderTemplate",
    "build_prompt",
]

Message = dict[str, str]


class RenderTemplate(Protocol):
    """Renders a chat."""

    def __call__(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool,
        *,
        source: str | None = None,
        **variables: object,
    ) -> str:
        """Return the rendered chat; raise ValueError if the template refuses it.

        Args:
            messages: the turns.
            add_generation_prompt: the model's turn begins at the end.
            source: Jinja source in place of the model's chat template.
            variables: further ones.
        """
        ...


def build_prompt(
    task: TaskSettings,
    *,
    answers: AnswerKind,
    render: RenderTemplate,
    tokenizer: PromptTokenizer,
    max_tokens: int,
    keep: Keep = "head_tail",
    note: str = "",
    policy: PolicySettings | None = None,
) -> Prompt:
    """Return the prompt of ``task``: instruction, definitions, examples, then the text.

    Args:
        task: labels, definitions, examples and instruction.
        answers: what the model is told to answer with.
        render: the chat template, thinking turned off.
        tokenizer: of the model.
        max_tokens: longest prompt.
        keep: which end of a longer text is kept.
        note: added after the text, for a second try.
        policy: the one that is asked about, of a task with policies.

    Raises:
        ConfigError: the task contains control tokens, or leaves no room for a text.
        ModelLoadError: the template does not render the messages as given, or starts a reasoning
            section.
    """
    if task.prompt == "verbatim":
        return _verbatim(
            task,
            answers=answers,
            render=render,
            tokenizer=tokenizer,
            max_tokens=max_tokens,
            keep=keep,
            policy=policy,
        )
    if task.prompt_file is not None:
        raise ConfigError(
            "model.task.prompt_file: only prompt: verbatim has one; set that, or remove it"
        )
    wording = render_phrases(task, answers, policy)
    noted = f"\n\n{note}" if note else ""
    last = wording.before + MARK + wording.after + noted
    for words in (wording.system, last, *(part for pair in wording.examples for part in pair)):
        _refuse_controls(words, tokenizer)
    # The prefix may contain control tokens: it is put into the model's mouth, after examples too.
    turns = [
        turn
        for question, answer in wording.examples
        for turn in _turns(question, task.answer_prefix + answer)
    ]

    def rendered(content: str, marks: Sequence[str]) -> str:
        messages = [*turns, {"role": "user", "content": content}]
        whole = _render(wording.system, messages, render, marks)
        if task.reasoning is not None:
            return _reasoning(whole, task.reasoning)
        return _refuse_thinking(whole) + task.answer_prefix

    if task.conversations:
        return ConversationPrompt(
            render_turns(task, wording, noted, rendered),
            tokenizer=tokenizer,
            max_tokens=max_tokens,
            keep=keep,
        )
    return Prompt(
        rendered(last, [MARK]),
        tokenizer=tokenizer,
        delimiters=task.delimiters,
        max_tokens=max_tokens,
        keep=keep,
    )


def _verbatim(
    task: TaskSettings,
    *,
    answers: AnswerKind,
    render: RenderTemplate,
    tokenizer: PromptTokenizer,
    max_tokens: int,
    keep: Keep,
    policy: PolicySettings | None,
) -> Prompt:
    if answers == "scores":
        raise ConfigError(
            "model.task.prompt: verbatim is for one-token answers; prompted scores ask again after"
            " a faulty answer, in words of their own: set prompt: chat, or another back end"
        )
    if task.conversations:
        return ConversationPrompt(
            verbatim_turns(task, render, lambda whole: _begun(whole, task)),
            tokenizer=tokenizer,
            max_tokens=max_tokens,
            keep=keep,
        )
    found = render_verbatim(task, render, policy)
    return Prompt(
        _begun(found.rendered, task),
        tokenizer=tokenizer,
        delimiters=None,
        max_tokens=max_tokens,
        keep=keep,
        strips=found.strips,
    )


def _begun(rendered: str, task: TaskSettings) -> str:
    """Return a prompt with the beginning of the answer, or of the reasoning before it."""
    if task.reasoning is not None:
        return _reasoning(rendered, task.reasoning)
    prefix = task.answer_prefix
    # White space that some templates of a model end with and others leave to the model.
    is_there = prefix.isspace() and rendered.endswith(prefix)
    return _refuse_thinking(rendered) + ("" if is_there else prefix)


def _turns(question: str, answer: str) -> list[Message]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _refuse_controls(text: str, tokenizer: PromptTokenizer) -> None:
    found = tokenizer.controls_in(text)
    if found:
        raise ConfigError(
            f"model.task: it contains {found[0]!r}, a control token of this model, which would"
            " change the structure of every prompt; write it differently"
        )


def _render(
    system: str, messages: list[Message], render: RenderTemplate, marks: Sequence[str]
) -> str:
    """Put the instruction into a system turn, or into the first user turn if there is none."""
    first, *rest = messages
    merged = {"role": "user", "content": f"{system}\n\n{first['content']}"}
    refusal = ""
    for attempt in ([{"role": "system", "content": system}, *messages], [merged, *rest]):
        try:
            rendered = render(attempt, True)
        except ValueError as error:
            refusal = f" ({error})"
            continue
        is_whole = all(m["content"].strip() in rendered for m in attempt)
        if is_whole and all(rendered.count(each) == 1 for each in marks):
            return rendered
    raise ModelLoadError(
        f"model.chat_template: the chat template does not render the instruction, the examples"
        f" and the text unchanged{refusal}; set model.chat_template to a file that does"
    )


def _reasoning(rendered: str, reasoning: ReasoningSettings) -> str:
    """Return a prompt after which the model reasons."""
    if rendered.rstrip().endswith(reasoning.end.strip()):
        raise ConfigError(
            "model.task.reasoning: the chat template has already ended the reasoning; set"
            " model.chat_template_kwargs (for many models: {enable_thinking: true}), or remove it"
        )
    return rendered + reasoning.begin


def _refuse_thinking(rendered: str) -> str:
    if rendered.rfind("<think>") > rendered.rfind("</think>"):
        raise ModelLoadError(
            "model.path: the chat template starts a reasoning section before the answer, so the"
            " first token is not an answer; choose a model whose template accepts"
            " enable_thinking=false, set model.chat_template, or set model.task.reasoning to read"
            " the answer after it"
        )
    return rendered
