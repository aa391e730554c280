"""Whether there is anything to see in a text: a blank one is not worth a model's time."""

import re

__all__ = ["is_visible"]

# White space, controls, and what Unicode calls default-ignorable: joiners, direction marks,
# fillers, variation selectors, tags. U+2800, the braille blank, is none of these and just as
# empty. A test compares this with Python's Unicode database.
_VISIBLE = re.compile(
    r"[^\s\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    r"\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def is_visible(text: str) -> bool:
    """Say whether a person who looks at ``text`` sees something. Linear in its length."""
    return _VISIBLE.search(text) is not None
