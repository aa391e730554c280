"""Options that several commands share, and how they become settings."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from streamlabel.config.loading import Loaded
    from streamlabel.config.settings import Settings

__all__ = ["ConfigFile", "Deployment", "Overrides", "load_model_settings", "load_settings"]

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


Deployment = Annotated[
    str | None,
    typer.Option(
        "--deployment",
        metavar="ID",
        help="Which model of a configuration with several: TASK, STAGE or TASK/STAGE.",
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


def load_model_settings(
    config: Path | None, overrides: Sequence[str] | None, deployment: str | None
) -> "Settings":
    """Return the settings as if the chosen model were the only one.

    Raises:
        ConfigError: they are invalid, or none of several models is chosen.
    """
    from streamlabel.config.deployments import for_deployment

    return for_deployment(load_settings(config, overrides).settings, deployment)
