"""Columns line up in cells, not in characters, and no row is wider than the terminal."""
# ruff: noqa: RUF001 scripts of other widths are the point

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.consumer.observability.columns import Column, Columns, cells_of, drawn, fitted

COLUMNS = (
    Column("POSITION", 12, is_whole=True),
    Column("LABEL", 10),
    Column("CONF.", 5, is_number=True),
    Column("TEXT"),
)
TEXTS = [
    "plain",
    "价格很好，服务也很好",
    "배송이 빨라요",
    "🙂🙂🙂",
    "❤️ 👍🏽 🇩🇪 1️⃣",
    "ราคาดีมาก",
    "e\u0301te\u0301",
]
printable = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=60)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("width", [60, 80, 140])
def test_every_column_begins_in_the_same_cell(text: str, width: int) -> None:
    columns = Columns(COLUMNS, width=width)
    shown = columns.row(["texts-0-12", text, "0.50", "end"])
    assert cells_of(shown[: shown.index("0.50")]) == cells_of("POSITION") + 4 + 2 + 10 + 2 + 1
    assert cells_of(shown[: shown.index("end")]) == columns.header().index("TEXT")


@given(label=printable, text=printable, width=st.integers(30, 160))
def test_no_line_is_wider_than_the_terminal_and_no_number_is_lost(
    label: str, text: str, width: int
) -> None:
    shown = Columns(COLUMNS, width=width).row(["texts-0-12", label, "0.50", text])
    assert all(cells_of(line) <= width for line in shown.split("\n"))
    assert " 0.50" in shown


def test_what_does_not_fit_goes_on_a_line_below_with_its_title() -> None:
    columns = Columns(COLUMNS, width=40)
    assert columns.header() == "POSITION      LABEL       CONF.\n    TEXT"
    assert columns.row(["texts-0-12", "spam", "0.50", "buy now"]) == (
        "texts-0-12    spam         0.50\n    buy now"
    )


def test_a_column_is_never_wider_than_the_terminal() -> None:
    columns = Columns([Column("WHAT", 10), Column("WHY", 70), Column("TEXT")], width=40)
    assert all(cells_of(line) <= 40 for line in columns.row(["a", "b" * 90, "c"]).split("\n"))


def test_a_position_is_never_cut() -> None:
    position = "a-topic-with-a-long-name-0-123456"
    for width in (40, 80, None):
        assert position in Columns(COLUMNS, width=width).row([position, "spam", "0.50", "x"])


def test_without_a_terminal_a_row_is_one_line_and_whole() -> None:
    long = "x" * 500
    shown = Columns(COLUMNS, width=None).row(["texts-0-12", long, "0.50", long])
    assert shown.split() == ["texts-0-12", long, "0.50", long]
    assert "\n" not in shown


@given(text=printable, cells=st.integers(1, 40))
def test_a_text_fits_its_cells_and_a_cut_is_visible(text: str, cells: int) -> None:
    shown = fitted(text, cells)
    assert cells_of(shown) <= cells
    assert shown == drawn(text) or shown.endswith("…")


def test_what_terminals_disagree_about_is_left_or_spelled_out() -> None:
    assert drawn("❤️ 👍🏽 🇩🇪 1️⃣") == "❤ 👍 DE 1"
    assert drawn("größer 中文 🙂") == "größer 中文 🙂"


def test_vowel_signs_of_indian_scripts_take_a_cell() -> None:
    """As tmux and the terminals that follow the C library count; tables of rich give them none."""
    assert cells_of("क्या यह किताब अभी भी उपलब्ध है? मैं कल ले सकता हूँ।") == 43
