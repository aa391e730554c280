"""The tokenizer and chat template of a language model, as prompts need them."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from streamlabel.config.chat import ChatSettings
from streamlabel.config.task import TaskSettings
from streamlabel.errors import ConfigError, ModelLoadError
from streamlabel.models.files.checkpoint import Checkpoint
from streamlabel.models.files.transformers_errors import one_line, unusable
from streamlabel.models.prompts.build_prompt import MARK, RenderTemplate
from streamlabel.models.prompts.guards import refuse_other_use
from streamlabel.models.prompts.prompt_tokens import PromptTokenizer
from streamlabel.models.prompts.verbatim import read_prompt_file

__all__ = ["Chat", "load_chat", "open_chat"]


@dataclass(frozen=True, slots=True)
class Chat:
    """Turns messages into token ids.

    Attributes:
        tokens: tokenises prompts.
        render: the chat template, thinking turned off; raises ValueError if it refuses.
        template: its source.
        pad_id: padding token; masked, so its value does not affect results.
        end_id: token that ends the model's turn; None if the template has none.
        end_ids: all tokens after which a model may stop: that one, and the tokenizer's own, which
            is another one in many checkpoints.
        size: all tokens of texts are below this number.
    """

    tokens: PromptTokenizer
    render: RenderTemplate
    template: str
    pad_id: int
    end_id: int | None
    end_ids: tuple[int, ...]
    size: int


def load_chat(
    folder: Path,
    *,
    name: str,
    chat_template: str | None = None,
    chat_date: date | None = None,
    variables: Mapping[str, Any] = MappingProxyType({}),
    vocabulary: int | None = None,
    check: Callable[[str], None] = lambda _source: None,
    needs_template: bool = True,
    thinks: bool = False,
    prompt_file: str | None = None,
) -> Chat:
    """Return tokenizer and chat template of a model folder.

    Args:
        folder: the model's files.
        name: of the model, for messages.
        chat_template: Jinja file to use instead of the model's own.
        chat_date: today's date for the template.
        variables: of the template.
        vocabulary: number of tokens of the model; None: unknown.
        check: called with the template's source; may raise ConfigError.
        needs_template: False: prompts have a source of their own, so a model without a chat
            template will do.
        prompt_file: Jinja file of the prompts, which then has the variables.
        thinks: the model shall reason before it answers, where the template can say so.

    Raises:
        ConfigError: the chat template file cannot be read, writes today's date and none is given,
            or has no date and no variable of that name.
        ModelLoadError: there is no fast tokenizer or no chat template, or a prompt or a text could
            have a token that the model does not know.
    """
    from jinja2 import TemplateError
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        spec = tokenizer.backend_tokenizer.to_str()
    except unusable() as error:
        raise ModelLoadError(
            f"model.path: the tokenizer of {name} cannot be loaded ({type(error).__name__}:"
            f" {one_line(error)}); save the model with a tokenizer.json"
        ) from error
    template = _read(chat_template) if chat_template else tokenizer.chat_template
    template = template if needs_template else template or ""
    if not isinstance(template, str):
        raise ModelLoadError(
            f"model.chat_template: {name} has no chat template; name an instruction-tuned model,"
            " or set model.chat_template to a Jinja file"
        )

    check(template)
    _refuse_idle(read_prompt_file(prompt_file) if prompt_file else template, variables, chat_date)

    def today(format_: str) -> str:
        if chat_date is None:
            raise ConfigError(
                "model.chat_date: the chat template writes today's date into every prompt, so the"
                " prompt, its version and every calibration would change at midnight; set a fixed"
                " date, for example that of the calibration"
            )
        return chat_date.strftime(format_)

    given = {"enable_thinking": thinks, **variables, "strftime_now": today}

    def render(
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool,
        *,
        source: str | None = None,
        **more: object,
    ) -> str:
        try:
            return str(
                tokenizer.apply_chat_template(
                    list(messages),
                    chat_template=template if source is None else source,
                    tokenize=False,  # transformers 5 returns a BatchEncoding otherwise
                    add_generation_prompt=add_generation_prompt,
                    **_merged(given, more),
                )
            )
        # a template may also divide by zero, or look for what is not there
        except (TemplateError, TypeError, ArithmeticError, LookupError, AttributeError) as error:
            line = getattr(error, "lineno", None)
            where = f" in line {line}" if line else ""
            raise ValueError(f"the template says{where}: {error}") from error

    tokens = PromptTokenizer(spec, vocabulary=vocabulary)
    ends = (_end_of_turn(tokens, render), tokenizer.eos_token_id)
    end_ids = tuple(dict.fromkeys(id_ for id_ in ends if id_ is not None and tokens.knows(id_)))
    end_id = next(iter(end_ids), None)
    pad_id = tokenizer.pad_token_id
    if pad_id is None or not tokens.knows(pad_id):
        pad_id = end_id or 0
    return Chat(tokens, render, template, int(pad_id), end_id, end_ids, tokens.size)


def _merged(given: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Return both; of mappings in both, the entries of both."""
    merged = dict(given)
    for name, value in more.items():
        old = merged.get(name)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = {**old, **value}  # noqa: PLW2901 of both
        merged[name] = value
    return merged


def _refuse_idle(template: str, variables: Mapping[str, Any], chat_date: date | None) -> None:
    """Refuse settings that the template would ignore."""
    unknown = [name for name in variables if not re.search(rf"\b{re.escape(name)}\b", template)]
    if unknown:
        raise ConfigError(
            f"model.chat_template_kwargs: the chat template has no variable {unknown[0]}; correct"
            " or remove it"
        )
    if chat_date is not None and "strftime_now" not in template:
        raise ConfigError("model.chat_date: the chat template writes no date; remove it")


def _read(path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"model.chat_template: {path} cannot be read ({error})") from error


def _end_of_turn(tokens: PromptTokenizer, render: RenderTemplate) -> int | None:
    """Return the control token that the template puts directly after the assistant's text."""
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": MARK}]
    try:
        rendered = render(messages, False)
    except ValueError:
        return None
    _, mark, rest = rendered.rpartition(MARK)
    after = tokens.trusted(rest).ids
    return after[0] if mark and after and after[0] in tokens.controls else None


def open_chat(checkpoint: Checkpoint, settings: ChatSettings, task: TaskSettings | None) -> Chat:
    """Return tokenizer and chat template of a model, as the settings want them.

    Raises:
        ConfigError, ModelLoadError: as ``load_chat``; or a guard model has a prompt of ours, see
            ``guards``.
    """
    return load_chat(
        checkpoint.folder,
        name=checkpoint.name,
        vocabulary=checkpoint.vocabulary,
        chat_template=settings.chat_template,
        chat_date=settings.chat_date,
        variables=settings.chat_template_kwargs,
        check=partial(refuse_other_use, name=checkpoint.name, preset=settings.preset, task=task),
        needs_template=task is None or task.prompt_file is None,
        thinks=task is not None and task.reasoning is not None,
        prompt_file=None if task is None else task.prompt_file,
    )
