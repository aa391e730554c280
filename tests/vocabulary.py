"""Banned phrases, which readers outside the project do not understand, and replacements."""

import ast
import re
import tokenize
from io import StringIO
from types import MappingProxyType
from typing import Final, NamedTuple

__all__ = ["BANNED", "Finding", "findings", "prose_of"]

# Regular expression -> replacement. All of these occurred in our own text and had to be explained
# to readers.
BANNED: Final = MappingProxyType(
    {
        r"lanes?": "partition delivery",
        r"salvag\w+": "record-batch parser, or recover",
        r"defus\w+": "escape",
        r"reading[ _]aloud": "terminal format",
        r"(?:is|are|be) hungry": "wants work",
        r"wrong on purpose": "deliberately broken, used as a negative control",
        r"twins?": "reduced configuration for tests",
        r"mend(?:s|ed|ing)?": "fix",
        r"strikes?|struck": "inject a fault into, or affect",
        r"doubled (?:record|output|with)s?|lost, doubled|nothing doubled": "duplicated",
        r"keep(?:s|ing)? (?:a |the |its |their )?promises?": "control the error rate, hold",
        r"promised error(?: rate)?s?": "target error",
        r"mean what (?:they say|it says)": "are calibrated",
        r"(?:no|a|what no) person (?:sees|looks|decides)|people look|a person looks": "review",
        r"(?:go|goes|sends?|sent) to people": "to review",
        r"(?:sure|certain) ones": "accepted records",
        r"part of their way": "fraction of the distance",
        r"play tricks": "contain terminal control characters",
        r"none of ours": "not a known setting",
        r"in so many words": "explicitly",
        r"to see it work": "to try it",
        r"broker'?s share taken off": "less the time spent in the broker",
        r"than its? own|one by one, which": "state it in one sentence",
        r"are worth(?! reading)": "say how reliable they are",
        r"who is to blame": "which one is at fault",
        r"last words": "last log lines",
        r"travels? (?:together|alone|with)|in company": "be batched together, in a batch",
        r"to the letter|by word of": "exactly",
        r"in silence": "silently, without a message",
        r"anew": "again",
        r"shut(?:s|ting)? (?:\w+ )?out": "fence",
        r"keeps? to (?:itself|themselves)": "private parts of",
        r"whoever": "name the subject",
        r"told apart|tells? \w+ apart": "distinguished",
        r"thr(?:ow|ows|ew|own|owing) (?:\w+ )?away": "discard",
        r"owe[sd]?": "say which response is overdue",
        r"raised out here": "raised outside the handler",
        r"lets? (?:\w+ )?go": "release, or revoke",
        r"go(?:es)? away|went away|gone away": "is revoked, or disappears",
        r"only to look(?: at)?": "read-only, or dry run",
        r"takes? (?:no|nothing) more": "accepts no more",
        r"(?:name|format|back end|one)s? of ours": "built-in",
        r"so often while": "state the interval and the condition",
        r"in their sight": "say who knows what",
    }
)
_PATTERNS: Final = tuple(
    (re.compile(rf"\b(?:{expression})\b", re.IGNORECASE), instead)
    for expression, instead in BANNED.items()
)


class Finding(NamedTuple):
    """One banned phrase.

    Attributes:
        phrase: as it was written.
        instead: what to write.
    """

    phrase: str
    instead: str


def prose_of(source: str) -> list[str]:
    """Return the comments of a Python module, its docstrings and its texts of several words."""
    tokens = tokenize.generate_tokens(StringIO(source).readline)
    comments = [token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT]
    texts = [
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value
    ]
    return [" ".join(comments), *texts]


def findings(text: str) -> list[Finding]:
    """Return every banned phrase of a text, code in backticks and code blocks left out."""
    prose = re.sub(r"^```.*?^```", " ", text, flags=re.DOTALL | re.MULTILINE)
    prose = re.sub(r"`[^`]*`", " ", prose)
    prose = " ".join(prose.split())
    return [
        Finding(found[0], instead)
        for pattern, instead in _PATTERNS
        for found in pattern.finditer(prose)
    ]
