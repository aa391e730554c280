"""How one browser wants to see the console: theme, blur, greyscale, keys, language."""

from dataclasses import asdict, dataclass, replace
from typing import Final, Literal, get_args

from streamlabel.console.web.wording import LANGUAGES

__all__ = ["COOKIE", "MAX_AGE_S", "Theme", "View"]

COOKIE: Final = "streamlabel-view"
MAX_AGE_S: Final = 365 * 24 * 3600

Theme = Literal["auto", "light", "dark"]
_SWITCHES: Final = ("blur", "grey", "keys")


@dataclass(frozen=True, slots=True)
class View:
    """The choices of one browser; kept in a cookie that holds nothing else.

    Attributes:
        blur: texts are blurred until they are asked for.
        grey: without colours (emoji).
        keys: single keys decide; some assistive tools need them off.
        language: None: as the browser asks.
    """

    theme: Theme = "auto"
    blur: bool = False
    grey: bool = False
    keys: bool = True
    language: str | None = None

    @classmethod
    def read(cls, cookie: str) -> "View":
        """Return the view of a cookie; what is not understood in it is ignored."""
        view = cls()
        for part in cookie.split("."):
            name, _, value = part.partition("-")
            view = view.having(name, value)
        return view

    def having(self, name: str, value: str) -> "View":
        """Return the view with one choice changed; itself if there is no such choice."""
        if name == "theme" and value in get_args(Theme):
            return replace(self, theme=value)  # type: ignore[arg-type]  # checked
        if name in _SWITCHES:
            return replace(self, **{name: value == "1"})  # type: ignore[arg-type]  # a switch
        if name == "language" and value in LANGUAGES:
            return replace(self, language=value)
        return self

    def cookie(self) -> str:
        """Return the value of the cookie."""
        values = {
            name: str(int(value)) if isinstance(value, bool) else value
            for name, value in asdict(self).items()
        }
        return ".".join(f"{name}-{value}" for name, value in values.items() if value is not None)
