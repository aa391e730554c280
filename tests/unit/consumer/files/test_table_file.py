"""The header row says what a CSV or TSV file is; without one nothing of the file is quoted."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.consumer.files.table_file import SEPARATORS, Table, open_table
from streamlabel.errors import ConfigError

CSV, TSV = SEPARATORS[".csv"], SEPARATORS[".tsv"]
# csv itself refuses a lone carriage return outside quotes, and NUL in old versions
VALUES = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\x00\r\n")), min_size=3, max_size=3
)


def table(content: str, separators: tuple[str, ...] = CSV) -> Table:
    lines = io.StringIO(content, newline="")
    return open_table(lines, separators=separators, wanted=("text",), name="in.csv")


@pytest.mark.parametrize("separator", CSV)
@given(rows=st.lists(VALUES, max_size=5), is_quoted=st.booleans())
def test_whatever_separates_the_columns_is_read_from_the_header(
    separator: str, rows: list[list[str]], is_quoted: bool
) -> None:
    stream = io.StringIO()
    dialect = "unix" if is_quoted else "excel"  # unix quotes every value
    writer = csv.writer(stream, dialect, delimiter=separator)
    writer.writerows([["id", "text", "lang"], *rows])
    read = table(stream.getvalue())
    assert read.names == ("id", "text", "lang")
    assert [row.values for row in read.rows] == rows


def test_a_tsv_of_one_column_may_hold_commas_and_semicolons() -> None:
    rows = [row.values for row in table("text\nbuy, now; or never\n", TSV).rows]
    assert rows == [["buy, now; or never"]]


@pytest.mark.parametrize("header", ["text", " text ", "Text", '"text"', "id,TEXT", "Text;id"])
def test_a_name_may_have_other_case_and_spaces(header: str) -> None:
    assert table(f"{header}\n").place("text") is not None


def test_a_name_as_written_goes_before_one_in_another_case() -> None:
    assert table("Text,text\n").place("text") == 1


def test_two_columns_of_the_name_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"in\.csv: several columns are called 'text'"):
        table("text,id,text\n")


@given(first=st.lists(st.text(min_size=1), min_size=1))
def test_a_first_row_that_names_no_columns_is_never_quoted(first: list[str]) -> None:
    secret = "my card is 4111 1111"
    stream = io.StringIO()
    csv.writer(stream).writerow([secret, *first])
    with pytest.raises(ConfigError, match="no column 'text'") as raised:
        open_table(
            io.StringIO(stream.getvalue(), newline=""),
            separators=CSV, wanted=("text",), name="in.csv",
        )  # fmt: skip
    assert secret not in str(raised.value)
    assert "begin the file with a header row" in str(raised.value)


def test_a_header_without_the_column_is_named() -> None:
    with pytest.raises(ConfigError, match="no column 'text' in its header row, but id, body;"):
        table("id,body\n1,a\n")
