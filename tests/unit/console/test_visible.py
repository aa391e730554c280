"""What is shown of the texts of strangers."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.console.web.visible import SHOWN_CHARACTERS, Piece, pieces, plain


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("a\u202eb", Piece("RIGHT-TO-LEFT OVERRIDE", is_mark=True)),
        ("a\u200b\u200b\u200bb", Piece("ZERO WIDTH SPACE", is_mark=True, count=3)),
        ("a\x00b", Piece("NUL", is_mark=True)),
        ("a\x1bb", Piece("ESC", is_mark=True)),
        ("a\ud800b", Piece("HALF OF A CHARACTER", is_mark=True)),
        ("a\U000e0041b", Piece("TAG LATIN CAPITAL LETTER A", is_mark=True)),
        ("a\u2066b", Piece("LEFT-TO-RIGHT ISOLATE", is_mark=True)),
    ],
)
def test_a_character_that_would_not_be_seen_becomes_a_mark(text: str, mark: Piece) -> None:
    assert pieces(text) == [Piece("a"), mark, Piece("b")]


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "zwei\nZeilen\tund Tab",
        "می‌خواهم",  # with a zero width non-joiner, which Persian needs
        "👩‍👩‍👧",  # with joiners
        "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",  # a flag
        "שָׁלוֹם",
        "tiếng Việt",
        "中文标点。",
    ],
)
def test_what_writing_needs_stays(text: str) -> None:
    assert pieces(text) == [Piece(text)]


def test_a_pile_of_marks_is_cut_and_counted() -> None:
    assert pieces("Z" + "\u0301" * 40 + "algo") == [
        Piece("Z" + "\u0301" * 5),
        Piece("COMBINING MARKS", is_mark=True, count=35),
        Piece("algo"),
    ]


def test_line_ends_of_windows_are_line_ends() -> None:
    assert pieces("a\r\nb") == [Piece("a\nb")]


@given(st.text(st.characters(codec=None), max_size=300))
def test_what_is_shown_can_be_written_as_utf_8_and_has_no_hidden_direction(text: str) -> None:
    shown = "".join(piece.text for piece in pieces(text))
    assert shown.encode().decode() == shown
    assert not {unicodedata.bidirectional(each) for each in shown} & {
        *("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    }


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_no_more_than_the_limit_is_shown(extra: int) -> None:
    found = pieces("x" * (SHOWN_CHARACTERS + extra))
    assert sum(len(piece.text) for piece in found) == SHOWN_CHARACTERS + min(0, extra)


def test_an_excerpt_is_one_line_and_says_that_it_is_one() -> None:
    assert plain("a\n\n b\u202ec", limit=20) == "a b c"
    assert plain("a long text", limit=6) == "a long…"
