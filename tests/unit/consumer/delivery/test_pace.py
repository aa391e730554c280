"""How much goes at once follows what the link has carried."""

from hypothesis import given
from hypothesis import strategies as st

from streamlabel.consumer.delivery.pace import Pace


def test_it_begins_small_and_doubles_while_what_fills_it_is_quick() -> None:
    pace = Pace(target_s=2.0)
    first = pace.limit_bytes
    assert first <= 64 * 1024
    for doubled in (2, 4, 8):
        pace.took(pace.limit_bytes, 0.1)
        assert pace.limit_bytes == doubled * first


def test_what_does_not_fill_it_says_nothing_about_more() -> None:
    pace = Pace(target_s=2.0)
    first = pace.limit_bytes
    pace.took(first // 2 - 1, 0.1)
    assert pace.limit_bytes == first


def test_what_failed_or_took_too_long_is_halved_and_grows_back() -> None:
    pace = Pace(target_s=2.0)
    for _ in range(4):
        pace.took(pace.limit_bytes, 0.1)
    before = pace.limit_bytes
    pace.failed(before)
    assert pace.limit_bytes == before // 2
    pace.took(before // 2, 2.1)
    assert pace.limit_bytes == before // 4
    for _ in range(2):
        pace.took(pace.limit_bytes, 0.9)
    assert pace.limit_bytes == before


def test_between_half_the_target_and_the_target_nothing_changes() -> None:
    pace = Pace(target_s=2.0)
    first = pace.limit_bytes
    for seconds in (1.0, 1.5, 2.0):
        pace.took(first, seconds)
        assert pace.limit_bytes == first


@given(rate=st.floats(2_000, 1e9), share=st.floats(0.5, 1.0), start=st.integers(0, 8))
def test_whatever_the_link_carries_deliveries_soon_take_no_longer_than_the_target(
    rate: float, share: float, start: int
) -> None:
    """And use at least a quarter of the target, as far as the bounds allow."""
    pace = Pace(target_s=8.0)
    for _ in range(start):  # it was faster before
        pace.took(pace.limit_bytes, 0.0)
    for _ in range(20):
        size = int(pace.limit_bytes * share)
        pace.took(size, size / rate)
    size = int(pace.limit_bytes * share)
    assert size / rate <= 8.0 or pace.limit_bytes == 16 * 1024
    assert size / rate >= 1.0 or pace.limit_bytes == 8 * 1024 * 1024
