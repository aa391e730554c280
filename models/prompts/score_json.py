"""Parses prompted scores: one JSON object, every class, integers 1-100, sum 100.

The parser is strict, because a lenient one turns a confused answer into a confident label. Every
answer has exactly one outcome: scores (the sum may differ from 100 by up to 10, which is recorded
as a sign of quality), or one named fault, after which the model gets a second try.

=====================================================  ================
answer                                                 outcome
=====================================================  ================
sum 90 to 110                                          scores with their ``sum_error``
sum below 90 or above 110                              ``wrong_sum``
prose, nothing, cut off, 007, single quotes            ``not_json``
full-width digits or braces, ``nan``                    ``not_json``
code fences, words before or after the object          ``text_around``
array, number, string, null                            ``not_an_object``
50.0, 5e1, "50", true, null, NaN, Infinity, nested     ``not_an_integer``
0, -3, 101, a number of a thousand digits              ``out_of_range``
a class is missing / unknown / there twice             ``missing_class`` and so on
=====================================================  ================

Several faults: the first one in the order of ``Fault``.

A lenient reading accepts three ways of writing that leave no doubt about the scores, and names
them: one code fence around the object (``fence``), a closed ``<think>`` block before it
(``thinking``), and integers as ``60.0`` or ``"60"`` (``number``). All else stays a fault.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

__all__ = ["Fault", "Passed", "Scores", "answer_limit_tokens", "parse", "pattern", "schema"]

Fault = Literal[
    "not_json",
    "text_around",
    "not_an_object",
    "repeated_class",
    "unknown_class",
    "missing_class",
    "not_an_integer",
    "out_of_range",
    "wrong_sum",
]

_SPACE: Final = " \t\r\n"
_INTEGER: Final = re.compile(r"([0-9]{1,3})(?:\.0{1,6})?", re.ASCII)

Passed = Literal["thinking", "fence", "number"]

# What may stand around an object, from the outside in; the object is the group.
_AROUND: Final[Mapping[Passed, re.Pattern[str]]] = {
    "thinking": re.compile(r"<think>(?:(?!</?think>).)*</think>(.*)", re.DOTALL),
    "fence": re.compile(r"```(?:json)?[ \t]*\r?\n((?:(?!```).)*)```", re.DOTALL),
}

LARGEST_SUM_ERROR = 10
LONGEST_INTEGER = 3  # digits; Python refuses int() of thousands of digits, or is slow


@dataclass(frozen=True, slots=True)
class Scores:
    """A valid answer.

    Attributes:
        values: shape (K,), in the order of the names, each in [1, 100].
        sum_error: distance of their sum from 100, in [0, 10].
        passed: what a lenient reading accepted.
    """

    values: tuple[int, ...]
    sum_error: int
    passed: tuple[Passed, ...] = ()

    @property
    def probabilities(self) -> tuple[float, ...]:
        """The values, renormalised."""
        total = sum(self.values)
        return tuple(value / total for value in self.values)

    @property
    def log_scores(self) -> tuple[float, ...]:
        """Logarithms of the probabilities, the input of calibration; finite, as no value is 0."""
        return tuple(math.log(p) for p in self.probabilities)


def parse(answer: str, names: Sequence[str], *, lenient: bool = False) -> Scores | Fault:
    """Return the scores in ``answer``, or its fault. Never raises.

    Args:
        answer: the text that the model generated.
        names: the classes, in LabelSet order.
        lenient: accept what leaves no doubt, see above.
    """
    text = answer.strip(_SPACE)
    passed: list[Passed] = []
    for name, around in _AROUND.items() if lenient else ():
        if found := around.fullmatch(text):
            text = found[1].strip(_SPACE)
            passed.append(name)
    try:
        content = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return "text_around" if _holds_object(text) else "not_json"
    if not isinstance(content, _Pairs):
        return "not_an_object"
    if lenient:
        read = _Pairs((name, _lenient_integer(value)) for name, value in content)
        passed += ["number"] if read != content else []
        content = read
    outcome = _check(content, names)
    return replace(outcome, passed=tuple(passed)) if isinstance(outcome, Scores) else outcome


def _lenient_integer(value: object) -> object:
    """Return the integer that ``"60"``, ``60.0`` or ``"60.0"`` is; anything else as it is."""
    if isinstance(value, str) and (found := _INTEGER.fullmatch(value)):
        return int(found[1])
    return value


def _check(pairs: "_Pairs", names: Sequence[str]) -> Scores | Fault:
    scores = dict(pairs)
    if len(scores) < len(pairs):
        return "repeated_class"
    if not scores.keys() <= set(names):
        return "unknown_class"
    if len(scores) < len(names):
        return "missing_class"
    values = [scores[name] for name in names]
    if any(type(value) is not int for value in values):  # isinstance accepts bool as int
        return "not_an_integer"
    if any(not 1 <= value <= 100 for value in values):
        return "out_of_range"
    error = abs(sum(values) - 100)
    return Scores(tuple(values), error) if error <= LARGEST_SUM_ERROR else "wrong_sum"


def schema(names: Sequence[str]) -> dict[str, Any]:
    """Return the JSON Schema of an answer, for engines with guided decoding.

    A schema cannot express the sum, which is checked afterwards.
    """
    score = {"type": "integer", "minimum": 1, "maximum": 100}
    return {
        "type": "object",
        "properties": dict.fromkeys(names, score),
        "required": list(names),
        "additionalProperties": False,
    }


def pattern(names: Sequence[str]) -> str:
    """Return a regular expression of an answer in the form that the prompt shows.

    A schema lets an engine write white space without end between the parts of an object, until the
    answer is cut off. This allows none but the one space that the form has.
    """
    score = "(100|[1-9][0-9]?)"
    parts = [_literal(json.dumps(name, ensure_ascii=False)) + f": {score}" for name in names]
    return r"\{" + ", ".join(parts) + r"\}"


def _literal(text: str) -> str:
    """Escape what has a meaning in every dialect of regular expressions, and nothing else."""
    return re.sub(r"([\\^$.|?*+()\[\]{}/-])", r"\\\1", text)


def answer_limit_tokens(names: Sequence[str]) -> int:
    """Return the maximum tokens of an answer: pretty-printed, at least one byte per token."""
    return 20 + sum(14 + len(name.encode()) for name in names)


class _Pairs(list[tuple[str, Any]]):
    """An object with repeated keys; a dict would silently keep only the last of them."""


def _integer(digits: str) -> int:
    return int(digits) if len(digits.lstrip("-")) <= LONGEST_INTEGER else 10**LONGEST_INTEGER


def _no_integer(_: str) -> None:
    return None


# A number with a fraction stays text, which is no integer either, and which can be looked at.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_Pairs,
    parse_int=_integer,
    parse_float=str,
    parse_constant=_no_integer,
)


def _holds_object(text: str) -> bool:
    start = text.find("{")
    if start < 0:
        return False
    try:
        content, _ = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return False
    return isinstance(content, _Pairs)
