"""Recognises guard models by their chat templates: they need their own prompt, and a preset."""

from streamlabel.config.presets import PRESETS, PresetName
from streamlabel.config.task import TaskSettings
from streamlabel.errors import ConfigError

__all__ = ["presets_of", "refuse_other_use"]


def presets_of(template: str) -> tuple[PresetName, ...]:
    """Return the presets whose models have such a chat template; none for other models."""
    return tuple(
        name
        for name, preset in PRESETS.items()
        if preset.template_has
        and preset.template_has in template
        and not (preset.template_lacks and preset.template_lacks in template)
    )


def refuse_other_use(
    template: str, *, name: str, preset: PresetName | None, task: TaskSettings | None
) -> None:
    """Refuse a preset with another model, and a guard model with a prompt that is not its own.

    Args:
        template: source of the model's chat template.
        name: of the model.
        preset: ``model.preset``.
        task: ``model.task``.

    Raises:
        ConfigError: it is one of these.
    """
    found = presets_of(template)
    own = preset is not None and bool(PRESETS[preset].prompt_file)
    if preset is not None and preset not in found and (found or not own):
        instead = f"preset {' or '.join(found)}" if found else "no preset that is known"
        raise ConfigError(
            f"model.preset: {preset} is not for {name}, whose chat template is that of {instead};"
            f" models of {preset}: {', '.join(PRESETS[preset].models)}"
        )
    if found and task is not None and task.prompt == "chat":
        raise ConfigError(
            f"model.preset: {name} is a guard model, whose chat template puts the instruction of"
            f" model.task into the text that is judged; set model.preset: {found[0]} and remove"
            " model.task, or set model.task.prompt: verbatim"
        )
