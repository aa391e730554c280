"""Variables in the values of a configuration file: ``${NAME}`` and ``${NAME:-default}``."""

import re
from collections.abc import Mapping

__all__ = ["InterpolationError", "interpolated"]

_REFERENCE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?")


class InterpolationError(Exception):
    """A variable in a value cannot be replaced; the value is not part of the message.

    Attributes:
        name: the variable that is not set; None if ``${`` does not begin a variable.
    """

    def __init__(self, name: str | None) -> None:
        super().__init__(name)
        self.name = name


def interpolated(text: str, environ: Mapping[str, str]) -> str:
    """Return ``text`` with every variable in it replaced; ``$${`` becomes ``${``.

    The value of a variable is not interpolated again. ``$NAME`` without braces is literal text,
    because passwords contain dollar signs.

    Raises:
        InterpolationError: a variable is not set and has no default, or ``${`` does not
            begin a variable.
    """

    def replaced(found: re.Match[str]) -> str:
        if found[0] == "$${":
            return "${"
        name, default = found[1], found[2]
        if name is None:
            raise InterpolationError(None)
        value = environ.get(name)
        if default is not None and not value:
            return str(default)
        if value is None:
            raise InterpolationError(name)
        return value

    return _REFERENCE.sub(replaced, text)
