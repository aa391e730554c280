"""Records are read from several topics in proportion to their weights, and none starves."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from streamlabel.consumer.core.fair_shares import FairShares

CREDIT = 500  # the longest burst of a topic that was idle

TOPICS = "abcd"
weights_of = st.dictionaries(
    # from 0.01 to 100, extremes as likely as the rest
    st.sampled_from(TOPICS),
    st.floats(-2, 2).map(lambda exponent: 10**exponent),
    min_size=1,
)
rooms = st.lists(st.integers(1, 500), min_size=1, max_size=60)


def read(shares: FairShares, room: int, backlog: dict[str, int]) -> dict[str, int]:
    """One poll: what was read from each topic; the backlog shrinks."""
    taken = dict.fromkeys(backlog, 0)
    for topic, quota in shares.turns(room, backlog):
        items = min(quota, backlog[topic])
        backlog[topic] -= items
        taken[topic] += items
        shares.took(items)
    return taken


def total(polls: list[dict[str, int]], topic: str) -> int:
    return sum(poll[topic] for poll in polls)


@given(weights=weights_of, polls=rooms)
def test_topics_with_a_backlog_are_read_in_proportion_to_their_weights(
    weights: Mapping[str, float], polls: list[int]
) -> None:
    shares = FairShares(weights)
    backlog = dict.fromkeys(weights, 10**9)
    taken = [read(shares, room, backlog) for room in polls]
    items = sum(polls)
    for topic, weight in weights.items():
        ideal = items * weight / sum(weights.values())
        assert abs(total(taken, topic) - ideal) <= len(weights)


@given(
    weights=weights_of,
    polls=st.lists(
        st.tuples(st.integers(1, 500), st.lists(st.integers(0, 300), min_size=4, max_size=4)),
        max_size=40,
    ),
)
def test_no_room_is_left_while_anything_can_be_read(
    weights: Mapping[str, float], polls: list[tuple[int, list[int]]]
) -> None:
    shares = FairShares(weights)
    for room, available in polls:
        backlog = {t: items for t, items in zip(TOPICS, available, strict=True) if t in weights}
        expected = min(room, sum(backlog.values()))
        assert sum(read(shares, room, backlog).values()) == expected


@given(
    weights=weights_of.filter(lambda weights: "a" in weights),
    polls=st.lists(
        st.tuples(st.integers(1, 500), st.lists(st.integers(0, 600), min_size=4, max_size=4)),
        min_size=1,
        max_size=60,
    ),
)
def test_a_topic_with_a_backlog_gets_its_share_whatever_the_others_do(
    weights: Mapping[str, float], polls: list[tuple[int, list[int]]]
) -> None:
    """Others may be idle and come back: that costs one burst of each at most."""
    shares = FairShares(weights)
    taken, items = 0, 0
    for room, available in polls:
        backlog = {t: n for t, n in zip(TOPICS, available, strict=True) if t in weights}
        backlog["a"] = 10**9
        taken += read(shares, room, backlog)["a"]
        items += room
    share = weights["a"] / sum(weights.values())
    assert taken >= items * share - CREDIT * (len(weights) - 1) - len(weights)


def test_a_topic_that_was_idle_does_not_push_the_others_aside_for_long() -> None:
    shares = FairShares({"busy": 1, "idle": 1})
    backlog = {"busy": 10**6, "idle": 0}
    for _ in range(1000):
        assert read(shares, 100, backlog) == {"busy": 100, "idle": 0}
    backlog["idle"] = 10**6
    polls = [read(shares, 100, backlog) for _ in range(20)]
    assert total(polls, "idle") <= (2000 + CREDIT) / 2 + 1
    assert total(polls, "busy") >= (2000 - CREDIT) / 2 - 1


def test_a_topic_whose_fetch_is_late_for_one_poll_catches_up() -> None:
    shares = FairShares({"late": 1, "prompt": 1})
    backlog = {"late": 0, "prompt": 10**6}
    assert read(shares, 100, backlog) == {"late": 0, "prompt": 100}
    backlog["late"] = 10**6
    assert read(shares, 100, backlog) == {"late": 100, "prompt": 0}
    assert read(shares, 100, backlog) == {"late": 50, "prompt": 50}


def test_records_that_were_read_without_a_turn_count() -> None:
    shares = FairShares({"a": 1, "b": 1})
    shares.charge("a", 60)
    assert read(shares, 100, dict.fromkeys("ab", 1000)) == {"a": 20, "b": 80}


def test_a_topic_that_comes_later_gets_its_share() -> None:
    shares = FairShares({"a": 2.0})
    before = shares.is_single
    for _ in range(5):
        for _topic, quota in shares.turns(100, ["a"]):
            shares.took(quota)
    shares.add({"a": 7.0, "b": 6.0})  # the weight of one that is there stays
    assert (before, shares.is_single) == (True, False)
    read = {"a": 0, "b": 0}
    for _ in range(20):
        for topic, quota in shares.turns(100, ["a", "b"]):
            shares.took(quota)
            read[topic] += quota
    assert read == {"a": 500, "b": 1500}
