"""The tokenizer and chat template of a language model, as prompts need them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from streamlabel.errors import ConfigError, ModelLoadError
from streamlabel.models.files.transformers_errors import one_line, unusable
from streamlabel.models.prompts.build_prompt import MARK, Message, RenderTemplate
from streamlabel.models.prompts.prompt_tokens import PromptTokenizer

__all__ = ["Chat", "load_chat"]


@dataclass(frozen=True, slots=True)
class Chat:
    """Turns messages into token ids.

    Attributes:
        tokens: tokenises prompts.
        render: the chat template, thinking turned off; raises ValueError if it refuses.
        template: its source, which is part of the prompt's version.
        pad_id: padding token; masked, so its value does not affect results.
        end_id: token that ends the model's turn; None if the template has none.
        size: all token ids are below this number.
    """

    tokens: PromptTokenizer
    render: RenderTemplate
    template: str
    pad_id: int
    end_id: int | None
    size: int


def load_chat(folder: Path, *, name: str, chat_template: str | None = None) -> Chat:
    """Return tokenizer and chat template of a model folder.

    Args:
        folder: the model's files.
        name: of the model, for messages.
        chat_template: Jinja file to use instead of the model's own.

    Raises:
        ConfigError: the chat template file cannot be read.
        ModelLoadError: there is no fast tokenizer or no chat template.
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
    if not isinstance(template, str):
        raise ModelLoadError(
            f"model.chat_template: {name} has no chat template; name an instruction-tuned model,"
            " or set model.chat_template to a Jinja file"
        )

    def render(messages: Sequence[Message], add_generation_prompt: bool) -> str:
        try:
            return str(
                tokenizer.apply_chat_template(
                    list(messages),
                    chat_template=template,
                    tokenize=False,  # transformers 5 returns a BatchEncoding otherwise
                    add_generation_prompt=add_generation_prompt,
                    enable_thinking=False,
                )
            )
        except (TemplateError, TypeError) as error:
            raise ValueError(f"the chat template says: {error}") from error

    tokens = PromptTokenizer(spec)
    end_id = _end_of_turn(tokens, render)
    fallback = tokenizer.eos_token_id if end_id is None else end_id
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else fallback or 0
    return Chat(tokens, render, template, int(pad_id), fallback, len(tokenizer))


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
