"""What ``check`` shows of a record: its fields, never what is in them."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streamlabel.tools.sample_check import shape

SECRET = "s3cret"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(SECRET) | st.just(SECRET.encode()),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["text", f"a {SECRET}", "id"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(document=VALUES)
def test_no_content_is_shown(document: Any) -> None:  # noqa: ANN401
    assert SECRET not in shape(document)


def test_fields_have_types_and_lengths() -> None:
    document = {
        "id": 17,
        "text": "Hello",
        "a name with spaces": None,
        "meta": {"user": "me", "tags": ["a", "b"], "deep": {"x": 1}},
        "raw": b"abc",
    }
    assert shape(document) == (
        "id number, text string (5 characters), (a name of 18 characters) null,"
        " meta {user string (2 characters), tags array (2), deep object (1 fields)}, raw bytes (3)"
    )
    assert shape({str(n): n for n in range(30)}).endswith(" and 10 more")
    assert shape("only text") == "string (9 characters)"
