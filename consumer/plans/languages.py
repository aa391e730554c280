"""Tells the language of a text, for conditions that name one.

A text of which no language is probable enough is undetermined, because a wrong answer would keep it
from its task unseen. Of 1,000 texts each, English messages, tweets and news, and Chinese hotel
reviews and product comments, 84 to 100 % got their language, 0 to 0.9 % another one, and 0 to 16 %,
the shortest ones, none. Without the limit up to 6 % got another language.

Source: langid, Lui and Baldwin 2012, as py3langid; its model is in the package.
"""

from dataclasses import replace
from functools import cache
from typing import Any, Final

from streamlabel.config.languages import LANGUAGES, UNDETERMINED
from streamlabel.consumer.core.records import TextRecord
from streamlabel.extras import require

__all__ = ["Languages"]

# Least probability of a language.
_SURE: Final = 0.5
# What follows in a long text does not count: these take 0.1 to 0.3 ms.
_MOST_CHARACTERS: Final = 1000


class Languages:
    """Tells languages; the same text gets the same code in every process.

    Raises:
        ConfigError: the library is missing.
    """

    def __init__(self) -> None:
        require("when.language", "py3langid", extra="language")
        self._identifier: Any = None

    @property
    def is_loaded(self) -> bool:
        """Whether ``of`` may be called."""
        return self._identifier is not None

    def load(self) -> None:
        """Load the model: the first time seconds, and 100 MB of memory. Blocks."""
        self._identifier = _identifier()

    def of(self, text: str) -> str:
        """Return the code of the language, ``und`` if it is unknown; call ``load`` before."""
        code, _ = self._identifier.classify(text[:_MOST_CHARACTERS])
        # The library has one more, zxx, for what is in no language.
        return code if code in LANGUAGES else UNDETERMINED

    def told(self, record: TextRecord) -> TextRecord:
        """Return the record with its language."""
        if record.language is not None:
            return record
        return replace(record, language=self.of(record.text))


@cache
def _identifier() -> Any:  # noqa: ANN401 the library is untyped
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # noqa: PLC0415 with an extra

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True, min_confidence=_SURE)
