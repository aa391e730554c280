"""The format of the input: built in, or registered by another distribution."""

import json
from typing import Any, Final, cast

from pydantic import ValidatorFunctionWrapHandler

from streamlabel.config import installed
from streamlabel.config.registry import SCHEMA_FORMATS
from streamlabel.config.section import FormatSettings
from streamlabel.errors import ConfigError

__all__ = ["FORMATS", "format_or_installed", "settings_of_format"]

# The names of the built-in formats.
FORMATS: Final = ("json", "text", "cloudevents", *SCHEMA_FORMATS)


def format_or_installed(value: Any, ours: ValidatorFunctionWrapHandler) -> Any:  # noqa: ANN401
    """Validate ``input.format``.

    Raises:
        ValueError: there is no such format, its distribution is broken, or it has the name of a
            built-in format.
    """
    if not isinstance(value, str):
        return ours(value)
    try:
        if value in FORMATS:
            installed.refuse_own("format", value)
            return ours(value)
        if value in installed.names("format"):
            return installed.find("format", value).name
    except ConfigError as error:
        raise ValueError(str(error)) from error
    others = installed.names("format")
    more = f"; installed: {', '.join(others)}" if others else ""
    raise ValueError(
        f"{json.dumps(value[:40], ensure_ascii=False)} is not a format; available:"
        f" {', '.join(FORMATS)}{more}; {installed.how_to_register('format')}"
    )


def settings_of_format(name: str, value: Any) -> FormatSettings | None:  # noqa: ANN401 any value
    """Validate ``input.decoder`` for a format.

    Raises:
        ValueError: settings for a built-in format, which has none.
        ValidationError: a setting is unknown or invalid.
    """
    if name not in FORMATS:
        section = installed.find("format", name).settings
        return cast("FormatSettings", section.model_validate({} if value is None else value))
    if value is not None:
        raise ValueError(f"format {name} has no settings of its own; remove it")
    return None
