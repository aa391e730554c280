"""What a group remembers of a bounded run, and whose offsets it continues at."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.consumer.delivery.time_range import Mark, TimeRange, may_continue

times = st.one_of(st.none(), st.integers(0, 2**45))
topic_ids = st.text("0123456789abcdef", max_size=32)

RANGE = TimeRange(1000, 2000)
OURS = Mark("id", RANGE.name, 50)


@given(topic_id=topic_ids, since=times, until=times, end=st.integers(0, 2**62))
def test_a_mark_is_read_as_it_was_written(
    topic_id: str, since: int | None, until: int | None, end: int
) -> None:
    mark = Mark(topic_id, TimeRange(since, until).name, end)
    assert Mark.of(mark.metadata) == mark


@given(metadata=st.text())
def test_other_metadata_is_a_topic_id(metadata: str) -> None:
    """It is compared with the id of the topic, so that an offset of who knows what stands out."""
    assert Mark.of(metadata) == Mark(metadata)
    assert Mark(metadata).metadata == metadata


@given(one=st.tuples(times, times), other=st.tuples(times, times))
def test_two_ranges_have_two_names(
    one: tuple[int | None, int | None], other: tuple[int | None, int | None]
) -> None:
    assert (TimeRange(*one).name == TimeRange(*other).name) == (one == other)


@pytest.mark.parametrize(
    ("next_offset", "mark", "continues", "verdict"),
    [
        (10, OURS, False, True),
        (50, OURS, False, True),  # complete
        (10, Mark("id"), False, None),  # a service
        (10, Mark("id", "1000..now", 50), False, None),
        (10, OURS, True, True),
        (50, OURS, True, False),  # an earlier run: catch up again
        (10, Mark("id"), True, False),
        (10, Mark("id", "1000..now", 50), True, False),
    ],
)
def test_offsets_of_others_are_continued_only_if_that_is_meant(
    next_offset: int, mark: Mark, continues: bool, verdict: bool | None
) -> None:
    wanted = TimeRange(RANGE.since_ms, RANGE.until_ms, continues=continues)
    assert may_continue(next_offset, mark, wanted) is verdict
