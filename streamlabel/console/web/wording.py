"""The texts of the pages in English and Chinese, and which of the two a request wants."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

__all__ = ["LANGUAGES", "Wording", "language_of", "load_wordings"]

LANGUAGES: Final = ("en", "zh")
_FOLDER: Final = Path(__file__).parent / "words"


class Wording:
    """The texts of one language.

    Args:
        language: en or zh.
        texts: by name, with ``{places}`` for values.
    """

    def __init__(self, language: str, texts: Mapping[str, str]) -> None:
        self.language = language
        self.texts = texts

    def __call__(self, name: str, **values: Any) -> str:  # noqa: ANN401 whatever format takes
        """Return a text. A name that is missing is a bug, which a test finds."""
        text = self.texts[name]
        return text.format(**values) if values else text


def load_wordings() -> Mapping[str, Wording]:
    """Read the texts of all languages."""
    return {
        language: Wording(
            language, json.loads((_FOLDER / f"{language}.json").read_text(encoding="utf-8"))
        )
        for language in LANGUAGES
    }


def language_of(*, chosen: str | None, accepted: str) -> str:
    """Return the language of a page.

    Args:
        chosen: in the settings of this browser; anything else than a language is ignored.
        accepted: header Accept-Language.
    """
    if chosen in LANGUAGES:
        return chosen
    for part in accepted.split(","):
        name = part.partition(";")[0].strip().lower().partition("-")[0]
        if name in LANGUAGES:
            return name
    return LANGUAGES[0]
