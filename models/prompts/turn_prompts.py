"""Builds the prompt of a task about conversations, by the model's chat template."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from streamlabel.config.task import TaskSettings
from streamlabel.models.prompts.phrases import Phrases, escape_delimiters, role_names
from streamlabel.models.prompts.turn_shape import Rendered, mark
from streamlabel.models.prompts.verbatim import CONTENTS, TRIED, read_prompt_file

__all__ = ["render_turns", "transcript", "verbatim_turns"]

_TRIED: Final = tuple(text for text in TRIED if len(text) < 100)


def transcript(task: TaskSettings, wording: Phrases, turns: Sequence[tuple[str, str]]) -> str:
    """Return the turns as one message: each one under its role's name, within the delimiters.

    Args:
        task: its language.
        wording: what is around a text.
        turns: role and content of each.
    """
    names = role_names(task.language)
    return "\n\n".join(
        f"{names[role]}\n{wording.before}{content}{wording.after}" for role, content in turns
    )


def render_turns(
    task: TaskSettings,
    wording: Phrases,
    note: str,
    render: Callable[[str, Sequence[str]], str],
) -> Callable[[tuple[str, ...]], Rendered]:
    """Return what renders a prompt of ours for any order of turns.

    Args:
        task: with delimiters.
        wording: its sentences.
        note: added after the turns.
        render: last message and the marks in it -> the whole prompt.
    """

    def of_roles(roles: tuple[str, ...]) -> Rendered:
        marks = [mark(place) for place in range(len(roles))]
        last = transcript(task, wording, list(zip(roles, marks, strict=True))) + note
        return Rendered(render(last, marks), lambda text: escape_delimiters(text, task.delimiters))

    return of_roles


def verbatim_turns(
    task: TaskSettings,
    render: Any,  # noqa: ANN401 a RenderTemplate
    finish: Callable[[str], str],
) -> Callable[[tuple[str, ...]], Rendered]:
    """Return what renders a verbatim prompt for any order of turns.

    Args:
        task: with its file, in which ``messages`` are the turns; or without.
        render: the chat template.
        finish: adds the beginning of the answer.
    """
    source = read_prompt_file(task.prompt_file) if task.prompt_file else None

    def of_roles(roles: tuple[str, ...]) -> Rendered:
        refusals = []
        for content in CONTENTS:

            def rendered(texts: Sequence[str], content: Callable[[str], object] = content) -> str:
                turns = [
                    {"role": role, "content": content(text)}
                    for role, text in zip(roles, texts, strict=True)
                ]
                return str(render(turns, True, source=source, text=texts[-1]))

            marks = [mark(place) for place in range(len(roles))]
            try:
                whole = rendered(marks)
            except ValueError as error:
                refusals.append(str(error))
                continue
            counts = [whole.count(each) for each in marks]
            if counts == [1] * len(roles):
                strips = _strips(rendered, whole, marks)
                return Rendered(finish(whole), str.strip if strips else str)
            wrong = next(place for place, count in enumerate(counts) if count != 1)
            refusals.append(
                f"turn {wrong + 1} of {len(roles)} stands in it {counts[wrong]} times, not once"
            )
        raise ValueError(refusals[0])

    return of_roles


def _strips(rendered: Callable[[Sequence[str]], str], whole: str, marks: Sequence[str]) -> bool:
    """Return whether white space around turns is removed; refuse any other change."""
    strips = False
    for text in _TRIED:
        found = rendered([text] * len(marks))
        for written, removes in ((text, strips), (text.strip(), True)):
            expected = whole
            for each in marks:
                expected = expected.replace(each, written)
            if found == expected:
                strips = strips or removes
                break
        else:
            raise ValueError("it changes or drops some turns; each must stand in it as it is")
    return strips
