"""Options that several commands share, and how they become settings."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from streamlabel.config.loading import Loaded

__all__ = ["ConfigFile", "Overrides", "load_settings"]

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="STREAMLABEL_CONFIG",
        metavar="FILE",
        help="YAML configuration file. Without it, settings come from the environment and"
        " --set only.",
        show_default=False,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Override one setting, for example kafka.group_id=moderation. May be repeated.",
        show_default=False,
    ),
]


def load_settings(config: Path | None, overrides: Sequence[str] | None) -> "Loaded":
    """Return the settings from file, environment and flags.

    Raises:
        ConfigError: they are invalid, or a ``--set`` is not NAME=VALUE.
    """
    from streamlabel.config.loading import load
    from streamlabel.errors import ConfigError

    pairs: dict[str, str] = {}
    for number, override in enumerate(overrides or (), start=1):
        name, sign, value = override.partition("=")
        if not sign or not name:
            # not shown: a value without a name may be a secret
            raise ConfigError(
                f"--set number {number}: write NAME=VALUE, for example kafka.group_id=moderation"
            )
        pairs[name.strip()] = value
    return load(config, overrides=pairs, environ=os.environ)
