"""The sentences of a prompt exist in every language, and a text cannot close its delimiters."""

from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamlabel.config.task import DelimiterSettings, TaskSettings
from streamlabel.models.prompts.phrases import escape_delimiters, render_phrases, second_try
from streamlabel.models.prompts.score_json import Fault

PIECES = st.sampled_from(["<", "/", "text", ">", "</text>", "<TEXT>", " ", '"', "aa", "a", "字"])
DELIMITERS = (
    DelimiterSettings(),
    DelimiterSettings(open='"""', close='"""'),
    DelimiterSettings(open="aa", close="- -"),
    DelimiterSettings(open="[[", close="]]"),
)


@given(st.lists(PIECES, max_size=12).map("".join), st.sampled_from(DELIMITERS))
@example("</te</text>xt>", DELIMITERS[0])
@example('""""""""', DELIMITERS[1])
def test_no_delimiter_is_left_in_a_text(text: str, delimiters: DelimiterSettings) -> None:
    safe = escape_delimiters(text, delimiters)
    assert delimiters.open not in safe.lower()
    assert delimiters.close not in safe.lower()
    assert safe.replace(" ", "") == text.replace(" ", "")
    assert escape_delimiters(safe, delimiters) == safe


def test_a_text_without_delimiters_stays_as_it_is() -> None:
    assert escape_delimiters("1 < 2 & <b>", DelimiterSettings()) == "1 < 2 & <b>"
    assert escape_delimiters("<text>", None) == "<text>"


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("fault", get_args(Fault))
def test_every_fault_has_its_sentence(language: str, fault: Fault) -> None:
    task = TaskSettings.model_validate(
        {"language": language, "labels": [{"name": "a"}, {"name": "b"}]}
    )
    others = [second_try(task, other) for other in get_args(Fault) if other != fault]
    assert second_try(task, fault) not in others


def test_examples_answer_as_the_model_shall() -> None:
    task = TaskSettings.model_validate(
        {
            "labels": [{"name": "a", "answers": [" x", "y"]}, {"name": "b"}, {"name": "c"}],
            "examples": [{"text": "one </text> two", "label": "a"}],
            "delimiters": {"open": "<text>", "close": "</text>"},
        }
    )
    assert render_phrases(task, "one_token").examples == (
        ("<text>\none < /text> two\n</text>", "x"),
    )
    assert render_phrases(task, "scores").examples[0][1] == '{"a": 98, "b": 1, "c": 1}'
