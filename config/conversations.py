"""Which settings of conversations fit together: of the input, of tasks and of back ends."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamlabel.config.settings import Settings
    from streamlabel.config.task import TaskSettings

__all__ = ["conversations_problem", "pairs_problem", "turns_problem"]


def turns_problem(task: "TaskSettings") -> str | None:
    """Return what a task about conversations cannot have; None: all fits."""
    if not task.conversations:
        return None
    if task.policies:
        return (
            "policies: they are asked about single texts; remove them, or set conversations: false"
        )
    if task.prompt == "chat" and task.delimiters is None:
        return (
            "delimiters: without them, a turn could pass for several; remove the setting, or set"
            " conversations: false"
        )
    return None


def pairs_problem(*, takes: bool, windows: bool, more: str) -> str | None:
    """Return what an encoder of conversations cannot have; None: all fits.

    Args:
        takes: its texts are conversations.
        windows: long texts are read in windows.
        more: what happens to more than two turns.
    """
    if takes and windows:
        return (
            "long_text: a pair has no windows; set truncate or review, or set conversations: false"
        )
    if not takes and more != "refuse":
        return "more_turns: only conversations have turns; remove it, or set conversations: true"
    return None


def conversations_problem(settings: "Settings") -> str | None:
    """Return what is wrong between the input and the models; None if nothing is."""
    paths = {each.messages_path is not None for _, each in settings.input.each}
    if len(paths) > 1:
        return (
            "input.topics: a model takes conversations or single texts; set messages_path for all"
            " topics, or for none"
        )
    has_messages = True in paths
    for place, model in _models(settings):
        takes = _takes(model)
        if has_messages and takes is None:
            name = f"backend {model.backend}"
            name += f" in mode {model.mode}" if hasattr(model, "mode") else ""
            return (
                f"input.messages_path: {name} of {place} has no conversations; remove it, or use"
                " backend encoder for pairs, or a language model"
            )
        name = f"{place}.conversations" if hasattr(model, "conversations") else ""
        name = name or f"{place}.task.conversations"
        if has_messages and not takes:
            return f"input.messages_path: the texts are conversations; set {name}: true"
        if takes and not has_messages:
            return f"{name}: requires conversations in the input; set input.messages_path"
    return None


def _takes(model: Any) -> bool | None:  # noqa: ANN401 a section of any back end
    """Return whether a model takes conversations; None: its back end cannot be told to."""
    sections: tuple[Any, ...] = (model, getattr(model, "task", None))
    for section in sections:
        if hasattr(section, "conversations"):
            return bool(section.conversations)
    # of another distribution, or the one without a model: texts are only passed on
    return None


def _models(settings: "Settings") -> Iterator[tuple[str, Any]]:
    sections: list[tuple[str, Any]] = [("", settings)]
    sections += [(f"tasks.{name}.", task) for name, task in settings.tasks.items()]
    if settings.shadow is not None:
        sections.append(("shadow.", settings.shadow))
    for path, section in sections:
        if section.model is not None:
            yield f"{path}model", section.model
        for number, stage in enumerate(getattr(section, "cascade", [])):
            yield f"{path}cascade.{number}.model", stage.model
