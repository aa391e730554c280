"""Whatever a model writes, there is exactly one outcome."""

import json
import math
import re
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.models.prompts.score_json import (
    Fault,
    Scores,
    answer_limit_tokens,
    parse,
    pattern,
    schema,
)

NAMES = ("ham", "spam", "其他")


def outcome(answer: str) -> Scores | Fault:
    return parse(answer, NAMES)


def written(ham: object, spam: object = 20, other: object = 10) -> str:
    return json.dumps({"ham": ham, "spam": spam, "其他": other})


@pytest.mark.parametrize(
    ("answer", "values", "error"),
    [
        (written(70), (70, 20, 10), 0),
        (written(69), (69, 20, 10), 1),
        (written(71), (71, 20, 10), 1),
        (written(60), (60, 20, 10), 10),
        (written(80), (80, 20, 10), 10),
        ('  {"其他": 1, "spam": 98,\n "ham": 1}\r\n', (1, 98, 1), 0),
        (written(98, 1, 1), (98, 1, 1), 0),
    ],
)
def test_valid_answers_keep_the_order_of_the_labels_and_the_sums_error(
    answer: str, values: tuple[int, ...], error: int
) -> None:
    assert outcome(answer) == Scores(values, error)


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ("", "not_json"),
        ("It is spam.", "not_json"),
        ('{"ham": 70, "spam": 20, "其他"', "not_json"),
        ("{'ham': 70, 'spam': 20, '其他': 10}", "not_json"),
        ('{"ham": 070, "spam": 20, "其他": 10}', "not_json"),
        ('{"ham": \uff17\uff10, "spam": 20, "其他": 10}', "not_json"),
        ('{"ham": 70, "spam": 20, "其他": 10,}', "not_json"),
        ('{"ham": nan, "spam": 20, "其他": 10}', "not_json"),
        ("\uff5b\uff5d", "not_json"),
        ("[" * 100_000, "not_json"),
        ('{"a":' * 100_000, "not_json"),
        (f"```json\n{written(70)}\n```", "text_around"),
        (f"```\n{written(70)}\n```", "text_around"),
        (f"Here you are: {written(70)}", "text_around"),
        (f"{written(70)} I hope this helps.", "text_around"),
        (f"{written(70)}{written(70)}", "text_around"),
        ("[70, 20, 10]", "not_an_object"),
        ("100", "not_an_object"),
        ("NaN", "not_an_object"),
        ("null", "not_an_object"),
        (f"[{written(70)}]", "not_an_object"),
        ('{"ham": 70, "ham": 70, "spam": 20, "其他": 10}', "repeated_class"),
        ('{"ham": 70, "spam": 20, "其他": 5, "eggs": 5}', "unknown_class"),
        ('{"Ham": 70, "spam": 20, "其他": 10}', "unknown_class"),
        ('{"ham": 80, "spam": 20}', "missing_class"),
        ("{}", "missing_class"),
        (written(70.0), "not_an_integer"),
        ('{"ham": 7e1, "spam": 20, "其他": 10}', "not_an_integer"),
        (written("70"), "not_an_integer"),
        (written("\uff17\uff10"), "not_an_integer"),
        (written(True), "not_an_integer"),
        (written(None), "not_an_integer"),
        (written(math.nan), "not_an_integer"),
        (written(math.inf), "not_an_integer"),
        (written([70]), "not_an_integer"),
        (written({"score": 70}), "not_an_integer"),
        (written(0, 90, 10), "out_of_range"),
        (written(-70), "out_of_range"),
        (written(101, 1, 1), "out_of_range"),
        ('{"ham": ' + "7" * 10_000 + ', "spam": 20, "其他": 10}', "out_of_range"),
        (written(59), "wrong_sum"),
        (written(81), "wrong_sum"),
        (written(1, 1, 1), "wrong_sum"),
    ],
)
def test_every_malformed_answer_has_its_one_fault(answer: str, fault: Fault) -> None:
    assert outcome(answer) == fault


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(NAMES) | st.text(), inner),
    max_leaves=8,
)


@given(JSON.map(lambda content: json.dumps(content, ensure_ascii=False)) | st.text())
def test_any_text_has_an_outcome(answer: str) -> None:
    found = outcome(answer)
    assert isinstance(found, Scores) or found in get_args(Fault)
    assert outcome(answer) == found


@given(
    st.text(max_size=30).filter(lambda noise: noise.strip(" \t\r\n")),
    st.text(max_size=30).filter(lambda noise: noise.strip(" \t\r\n")),
)
def test_text_around_an_answer_is_never_accepted(before: str, after: str) -> None:
    for answer in (before + written(70), written(70) + after, before + written(70) + after):
        assert not isinstance(outcome(answer), Scores)


@given(st.lists(st.integers(1, 100), min_size=3, max_size=3))
def test_accepted_scores_are_probabilities(values: list[int]) -> None:
    found = outcome(written(*values))
    if abs(sum(values) - 100) > 10:
        assert found == "wrong_sum"
        return
    assert isinstance(found, Scores)
    assert math.fsum(found.probabilities) == pytest.approx(1)
    assert [math.exp(x) for x in found.log_scores] == pytest.approx(found.probabilities)


def test_the_schema_takes_what_the_parser_takes() -> None:
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(schema(NAMES))
    assert validator.is_valid(json.loads(written(70)))
    for wrong in (written(0), written(101), written("70"), written(7.5), '{"ham": 100}', "[]"):
        assert not validator.is_valid(json.loads(wrong))


def test_the_limit_leaves_room_for_a_pretty_answer() -> None:
    pretty = json.dumps(dict.fromkeys(NAMES, 100), indent=4, ensure_ascii=False)
    assert answer_limit_tokens(NAMES) >= len(pretty.encode())


@given(
    st.lists(st.text(min_size=1, max_size=12), min_size=2, max_size=4, unique=True),
    st.data(),
)
def test_the_pattern_is_the_form_that_the_prompt_shows(
    names: list[str], data: st.DataObject
) -> None:
    values = [data.draw(st.integers(-5, 120)) for _ in names]
    answer = json.dumps(dict(zip(names, values, strict=True)), ensure_ascii=False)
    is_right = all(1 <= value <= 100 for value in values)
    assert bool(re.fullmatch(pattern(names), answer)) == is_right
    assert not re.fullmatch(pattern(names), answer.replace(": ", ":  "))
    if is_right:
        found = parse(answer, names)
        assert found == "wrong_sum" or isinstance(found, Scores)


# A lenient reading


def fenced(text: str, kind: str = "json") -> str:
    return f"```{kind}\n{text}\n```"


THOUGHT = "<think>\nIt offers a prize, so {spam}.\n</think>\n\n"


@pytest.mark.parametrize(
    ("answer", "passed"),
    [
        (written(70), ()),
        (fenced(written(70)), ("fence",)),
        (fenced(written(70), ""), ("fence",)),
        (f"  {fenced(written(70))}\n", ("fence",)),
        (THOUGHT + written(70), ("thinking",)),
        ("<think></think>" + written(70), ("thinking",)),
        (THOUGHT + fenced(written(70)), ("thinking", "fence")),
        (written("70"), ("number",)),
        (written(70.0), ("number",)),
        (written("70.0", "20", 10), ("number",)),
        (THOUGHT + fenced(written("70")), ("thinking", "fence", "number")),
    ],
)
def test_a_lenient_reading_names_what_it_accepted(answer: str, passed: tuple[str, ...]) -> None:
    assert parse(answer, NAMES, lenient=True) == Scores((70, 20, 10), 0, passed)  # type: ignore[arg-type] # names


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (fenced(written(59)), "wrong_sum"),
        (written("81"), "wrong_sum"),
        (written("70.5"), "not_an_integer"),
        (written("7e1"), "not_an_integer"),
        ('{"ham": 7e1, "spam": 20, "其他": 10}', "not_an_integer"),
        (written("seventy"), "not_an_integer"),
        (written("-70"), "not_an_integer"),
        (written("\uff17\uff10"), "not_an_integer"),
        (written(True), "not_an_integer"),
        (written("101"), "out_of_range"),
        (written("0"), "out_of_range"),
        (fenced(written(70)) * 2, "text_around"),
        (f"Here: {fenced(written(70))}", "text_around"),
        (f"```python\n{written(70)}\n```", "text_around"),
        (f"```json\n{written(70)}", "text_around"),
        (f"<think>never closed {written(70)}", "text_around"),
        (f"{written(70)}</think>", "text_around"),
        (f"<think>a</think>b {written(70)}", "text_around"),
        ("<think>a</think>", "not_json"),
        ("", "not_json"),
    ],
)
def test_a_lenient_reading_leaves_every_doubt_a_fault(answer: str, fault: str) -> None:
    assert parse(answer, NAMES, lenient=True) == fault


@given(st.text() | st.sampled_from([written(70), fenced(written(60)), THOUGHT + written("60")]))
def test_what_is_read_strictly_is_read_leniently_too(answer: str) -> None:
    strict, lenient = outcome(answer), parse(answer, NAMES, lenient=True)
    assert isinstance(lenient, Scores) or lenient in get_args(Fault)
    if isinstance(strict, Scores):
        assert lenient == strict


def test_a_hostile_answer_is_read_in_linear_time() -> None:
    for hostile in ("<think>" * 50_000, "```json\n" * 50_000, "<think>" + "</thin" * 50_000):
        assert parse(hostile, NAMES, lenient=True) == "not_json"
