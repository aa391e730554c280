"""What in a text can be seen. Pure."""

import re

__all__ = ["VISIBLE"]

# Finds a visible character; texts without one are not classified. Takes linear time. Not visible
# are white space, controls, and what Unicode calls default-ignorable: joiners, direction marks,
# fillers, variation selectors, tags; also U+2800, the braille blank. A test compares this with
# Python's Unicode database.
VISIBLE = re.compile(
    r"[^\s\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    r"\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
