"""Prompts that are used as they are: a Jinja file, or a model's own chat template.

The template is rendered once, with a mark in place of the text. That is only right if it does
nothing to the text but put it somewhere, which is tried here with texts of many kinds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from streamlabel.config.policies import PolicySettings
from streamlabel.config.task import TaskSettings
from streamlabel.errors import ConfigError
from streamlabel.models.prompts.prompt_shape import MARK

__all__ = ["CONTENTS", "TRIED", "Verbatim", "read_prompt_file", "render_verbatim"]

# What templates are likely to treat differently: length, case, spaces, markup, other scripts.
TRIED: Final = (
    *("a", "Hello, World.", "12", "line\n\nline", "  b  ", "你好。", "é", "long " * 400),
    *("<b>&amp;</b>", "{{ x }} {% y %}", "- item", "User: x", "'one' \"two\"", "back\\slash"),
)


@dataclass(frozen=True, slots=True)
class Verbatim:
    """A rendered prompt.

    Attributes:
        rendered: with MARK in place of the text.
        strips: the template removes white space around the text.
    """

    rendered: str
    strips: bool


class _Render(Protocol):
    def __call__(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool,
        *,
        source: str | None = None,
        **variables: object,
    ) -> str: ...


def render_verbatim(
    task: TaskSettings, render: _Render, policy: PolicySettings | None = None
) -> Verbatim:
    """Return the prompt of the task's file, or of the model's own chat template.

    Args:
        task: with the file.
        render: the chat template.
        policy: the one that is asked about.

    Raises:
        ConfigError: the file cannot be read or rendered, contains the text not exactly once,
            changes or drops some texts, or does not contain the policy.
    """
    setting = "model.task.prompt_file" if task.prompt_file else "model.chat_template"
    source = read_prompt_file(task.prompt_file) if task.prompt_file else None
    more = {} if policy is None else _nested(task.policy_variable, policy.text)
    refusals: list[str] = []
    for content in CONTENTS:

        def rendered(text: str, content: Callable[[str], object] = content) -> str:
            turn = {"role": "user", "content": content(text)}
            return render([turn], True, source=source, text=text, **more)

        try:
            whole = rendered(MARK)
        except ValueError as error:
            refusals.append(str(error))
            continue
        if policy is not None and policy.text not in whole:
            raise ConfigError(
                f"{setting}: it does not contain the text of the policy {policy.name!r}; write"
                f" {{{{ {task.policy_variable} }}}} where the policy belongs, or set"
                " model.task.policy_variable to the name that the template has for it"
            )
        if whole.count(MARK) == 1:
            return Verbatim(whole, strips=_strips(rendered, whole, setting))
        refusals.append(
            f"it contains the text {whole.count(MARK)} times; write {{{{ text }}}} exactly once,"
            " where the text belongs"
        )
    raise ConfigError(f"{setting}: {refusals[0]}")


def _strips(rendered: Callable[[str], str], whole: str, setting: str) -> bool:
    """Return whether white space around a text is removed; refuse any other change."""
    stripped = set()
    for text in TRIED:
        try:
            found = rendered(text)
        except ValueError as error:
            raise ConfigError(
                f"{setting}: it fails for some texts ({error}); it must accept any text"
            ) from error
        if text.strip() != text and found != whole.replace(MARK, text):
            stripped.add(True)
            text = text.strip()  # noqa: PLW2901 as the template does
        if found != whole.replace(MARK, text):
            raise ConfigError(
                f"{setting}: it changes or drops some texts, for example one of {len(text)}"
                " characters; the text must stand in it as it is, without conditions and filters"
                " other than trim"
            )
    return bool(stripped)


def _nested(name: str, value: str) -> dict[str, Any]:
    """Return ``{"a": {"b": value}}`` for the name ``a.b``."""
    first, dot, rest = name.partition(".")
    return {first: _nested(rest, value) if dot else value}


def _as_text(text: str) -> object:
    return text


def _as_parts(text: str) -> object:
    """Return a turn as templates of models for several media want it."""
    return [{"type": "text", "text": text}]


# The forms in which templates take the content of a turn.
CONTENTS: Final[tuple[Callable[[str], object], ...]] = (_as_text, _as_parts)


def read_prompt_file(path: str) -> str:
    """Return a Jinja file as it renders to its last byte; ConfigError if it cannot be read."""
    try:
        source = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"model.task.prompt_file: {path} cannot be read ({error})") from error
    # Jinja drops a line break at the end, which many prompts need: <|im_start|>assistant
    return source + "\n" if source.endswith("\n") else source
