"""The prompt that a model was tuned with: stored beside its weights, and compared at load."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from streamlabel.errors import ConfigError

__all__ = ["refuse_other_prompt", "store_prompt", "tuned_folders"]

_FILE: Final = "prompt.json"
_KEY: Final = "prompt_version"


def store_prompt(folder: Path, version: str) -> None:
    """Write the version of the prompt that the model or adapter in ``folder`` was tuned with."""
    (folder / _FILE).write_text(json.dumps({_KEY: version}) + "\n", encoding="utf-8")


def tuned_folders(model: Path, adapter: str | None) -> list[Path]:
    """Return the folders of a model and its adapter, in the order of ``refuse_other_prompt``."""
    return [model] if adapter is None else [model, Path(adapter).expanduser()]


def refuse_other_prompt(folders: Sequence[Path], version: str) -> None:
    """Refuse a prompt other than the one that a model or an adapter was tuned with.

    It would answer, but worse than it was measured, without any sign of it.

    Args:
        folders: of the model, and of its adapter; those without a stored version count as untuned,
            and the last one with a version decides.
        version: of the prompt that is served.

    Raises:
        ConfigError: they differ.
    """
    stored = [(folder, found) for folder in folders if (found := _version(folder / _FILE))]
    if stored and stored[-1][1] != version:
        folder, found = stored[-1]
        raise ConfigError(
            f"model.task: {folder.name} was tuned with another prompt (version {found}, this is"
            f" {version}); set model.task to its task.yaml and model.chat_template and"
            f" model.chat_date as in training, or delete its {_FILE} to serve it with this one"
        )


def _version(path: Path) -> str | None:
    try:
        found = json.loads(path.read_bytes()).get(_KEY)
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, str) else None
