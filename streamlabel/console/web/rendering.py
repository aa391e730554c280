"""Templates and static files, read once when the console starts."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from streamlabel.console.web.wording import load_wordings

__all__ = ["Renderer", "StaticFile", "load_renderer"]

_HERE: Final = Path(__file__).parent
_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file that browsers may keep for ever: its address changes with its content."""

    content: bytes
    media_type: str
    address: str


class Renderer:
    """Makes pages from templates. Every value is escaped; nothing in a template turns that off.

    Attributes:
        statics: by name.
        wordings: by language.
    """

    def __init__(self, statics: Mapping[str, StaticFile], environment: Environment) -> None:
        self.statics = statics
        self.wordings = load_wordings()
        self._environment = environment
        self._environment.globals["static"] = lambda name: statics[name].address

    def render(self, template: str, *, language: str, **values: Any) -> str:  # noqa: ANN401 of any type
        """Return a page in UTF-8-encodable text."""
        text = self._environment.get_template(template).render(t=self.wordings[language], **values)
        # half a surrogate pair, from a name or a label: texts have none, see ``visible``
        return text.encode("utf-8", "replace").decode("utf-8")


def load_renderer() -> Renderer:
    """Read all templates, texts and static files."""
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    for (
        name
    ) in environment.list_templates():  # compiled now: no file is read while pages are served
        environment.get_template(name)
    statics = {}
    for path in sorted((_HERE / "static").iterdir()):
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()[:12]
        address = f"/static/{digest}/{path.name}"
        statics[path.name] = StaticFile(content, _TYPES[path.suffix], address)
    return Renderer(statics, environment)
