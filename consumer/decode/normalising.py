"""Unicode normalization of the copy of a text that the model reads. Pure.

``é`` is one character or two (e and an accent), which look alike but may be different tokens. NFC
makes it one. Outputs contain the original text.
"""

import re
import sys
import unicodedata
from collections.abc import Callable, Iterator
from typing import Final, Literal

__all__ = ["normaliser"]

# Sorting the marks on one letter takes quadratic time: 100,000 of them would hold the event loop
# for seconds. Unicode's stream-safe format splits such runs with an invisible joiner; no
# language needs longer ones. Source: Unicode Standard Annex 15, section 13.
_LONGEST_RUN: Final = 30
_JOINER: Final = "\u034f"  # COMBINING GRAPHEME JOINER, which marks are not sorted across


def normaliser(form: Literal["none", "nfc"]) -> Callable[[str], str]:
    """Return a function that makes the model's copy of a text, in time linear in its length."""
    if form == "none":
        return str
    marks = "".join(_marks())
    run = re.compile(f"([{marks}]{{{_LONGEST_RUN}}})(?=[{marks}])")

    def nfc(text: str) -> str:
        if text.isascii():
            return text
        return unicodedata.normalize("NFC", run.sub(rf"\1{_JOINER}", text))

    return nfc


def _marks() -> Iterator[str]:
    """Yield all characters that normalization sorts: those with a combining class, as ranges."""
    start = None
    for code in range(sys.maxunicode + 2):
        is_mark = code <= sys.maxunicode and unicodedata.combining(chr(code)) > 0
        if is_mark and start is None:
            start = code
        elif not is_mark and start is not None:
            yield f"{chr(start)}-{chr(code - 1)}"
            start = None
