"""The long-text policy covers what it says it covers."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.errors import ConfigError
from streamlabel.models.tokens.long_texts import LongTextPolicy


@given(
    capacity=st.integers(1, 40),
    overlap=st.integers(0, 39),
    windows=st.integers(1, 9),
    length=st.integers(0, 500),
)
def test_windows_cover_every_token_up_to_the_limit(
    capacity: int, overlap: int, windows: int, length: int
) -> None:
    overlap = min(overlap, capacity - 1)
    policy = LongTextPolicy(capacity, "windows", overlap, windows)
    spans = policy.spans(length)
    assert 1 <= len(spans) <= windows
    assert all(0 <= start <= end <= start + capacity for start, end in spans)
    covered = {token for start, end in spans for token in range(start, end)}
    assert covered == set(range(min(length, policy.limit_tokens)))
    for (_, end), (start, later_end) in pairwise(spans):
        assert end - start == overlap
        assert later_end > end  # every window reads something new
    assert max(end - start for start, end in spans) == spans[0][1] - spans[0][0]


@pytest.mark.parametrize("long_text", ["truncate", "review"])
@pytest.mark.parametrize(("length", "end"), [(0, 0), (9, 9), (10, 10), (11, 10), (10**7, 10)])
def test_truncating_keeps_the_first_row(long_text: str, length: int, end: int) -> None:
    policy = LongTextPolicy(10, long_text)  # type: ignore[arg-type]  # parametrize gives a str
    assert policy.spans(length) == [(0, end)]
    assert policy.limit_tokens == 10


@pytest.mark.parametrize(("length", "rows"), [(10, 1), (11, 2), (16, 2), (17, 3), (22, 3), (23, 3)])
def test_a_window_more_at_every_step(length: int, rows: int) -> None:
    assert len(LongTextPolicy(10, "windows", 4, 3).spans(length)) == rows


def test_an_overlap_without_progress_is_refused() -> None:
    LongTextPolicy(10, "windows", 9, 3)
    with pytest.raises(ConfigError, match=r"model\.window_stride_tokens: 10 .*lower it"):
        LongTextPolicy(10, "windows", 10, 3)
    LongTextPolicy(10, "truncate", 10, 3)  # it does not matter there


def test_no_room_for_text_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.max_tokens.*raise it"):
        LongTextPolicy(0)
