"""The model's copy of a text: one spelling, in bounded time."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.consumer.decode.normalising import normaliser

nfc = normaliser("nfc")


def test_none_changes_nothing() -> None:
    assert normaliser("none")("e\u0301 \u212b") == "e\u0301 \u212b"


@given(st.text())
def test_two_spellings_of_a_text_become_one(text: str) -> None:
    composed, decomposed = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    assert nfc(composed) == nfc(decomposed) == nfc(text) == composed


@given(st.lists(st.sampled_from("\u0301\u0316\u05b0\U0001e8d0"), max_size=200), st.text())
def test_a_pile_of_marks_loses_none_of_them(marks: list[str], text: str) -> None:
    pile = "a" + "".join(marks) + text
    assert sorted(unicodedata.normalize("NFD", nfc(pile)).replace("\u034f", "")) == sorted(
        unicodedata.normalize("NFD", pile).replace("\u034f", "")
    )


@pytest.mark.parametrize("marks", ["\u0301\u0316", "\u0301", "\U0001e8d0\u05b0\u0316"])
def test_a_million_marks_take_bounded_time(marks: str) -> None:
    text = "a" + marks * (1_000_000 // len(marks))
    began_s = time.perf_counter()
    nfc(text)
    assert time.perf_counter() - began_s < 30  # sorting them all would take an hour
