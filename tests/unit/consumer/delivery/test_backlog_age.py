"""The age of a backlog: never too small, and too large by one poll's records at most."""

from hypothesis import given
from hypothesis import strategies as st

from streamlabel.consumer.delivery.backlog_age import BacklogAge

NOW_MS = 1_000_000


def test_nothing_waits_nothing_is_old() -> None:
    age = BacklogAge()
    assert age.age_ms(NOW_MS, lag=0, in_flight=0) == 0
    age.started(9, 1000)
    age.delivered(10)
    assert age.age_ms(NOW_MS, lag=0, in_flight=0) == 0


def test_what_was_never_read_has_no_age() -> None:
    assert BacklogAge().age_ms(NOW_MS, lag=5, in_flight=0) is None


def test_a_record_without_a_timestamp_has_no_age() -> None:
    age = BacklogAge()
    for missing in (-1, 0):
        age.started(9, missing)
    assert age.age_ms(NOW_MS, lag=0, in_flight=10) is None


def test_the_age_is_that_of_the_oldest_poll_that_was_not_delivered() -> None:
    age = BacklogAge()
    age.started(9, 100_000)
    age.started(19, 200_000)
    assert age.age_ms(NOW_MS, lag=0, in_flight=20) == 900_000
    age.delivered(9)
    assert age.age_ms(NOW_MS, lag=0, in_flight=11) == 900_000
    age.delivered(10)
    assert age.age_ms(NOW_MS, lag=0, in_flight=10) == 800_000


def test_a_record_from_the_future_has_waited_for_no_time() -> None:
    age = BacklogAge()
    age.started(0, NOW_MS + 5)
    assert age.age_ms(NOW_MS, lag=0, in_flight=1) == 0


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 1000)), min_size=1), st.data())
def test_the_age_is_never_less_than_the_true_one(
    polls: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Timestamps grow with offsets, as those of a broker that stamps records do."""
    age, stamps, now_ms = BacklogAge(), [], 1000
    for items, step_ms in polls:
        first = now_ms
        for _ in range(items):
            stamps.append(now_ms)
            now_ms += step_ms
        age.started(len(stamps) - 1, first)
    delivered = data.draw(st.integers(0, len(stamps) - 1))
    age.delivered(delivered)
    found = age.age_ms(now_ms, lag=0, in_flight=len(stamps) - delivered)
    assert found is not None
    assert now_ms - stamps[delivered] <= found <= now_ms - 1000
