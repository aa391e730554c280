"""What ``check`` shows of a record: its fields, never what is in them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.config.settings import Settings
from streamlabel.consumer.kafka.topics import Topic
from streamlabel.tools import sample_check
from streamlabel.tools.sample_check import check_samples, shape
from tests.doubles import ManualClock

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


@pytest.mark.parametrize(
    ("topics", "said"), [(20, []), (23, ["of 3 more topics no record is shown"])]
)
async def test_topics_that_are_not_read_are_counted(
    topics: int, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def empty(*_: object) -> None:
        """No topic has a record."""

    monkeypatch.setattr(sample_check, "_last", empty)
    settings = Settings.model_validate({"model": {"backend": "fake"}})
    present = {f"t{n}": Topic(f"t{n}", 1) for n in range(topics)}
    found = [each async for each in check_samples(settings, topics=present, clock=ManualClock())]
    assert [each.detail for each in found] == said
