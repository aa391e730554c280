"""Micro-batching: bounded, never starving, little padding. Time is a number."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.consumer.batching.micro_batcher import Batch, MicroBatcher

Item = tuple[int, int]  # (arrival number, tokens)


def batcher(
    *, max_tokens: int = 100, max_items: int = 10, linger_s: float = 0.0, max_padding: float = 0.25
) -> MicroBatcher[Item]:
    return MicroBatcher(
        max_tokens=max_tokens, max_items=max_items, linger_s=linger_s, max_padding=max_padding
    )


def filled(lengths: list[int], **limits: int) -> MicroBatcher[Item]:
    b = batcher(**limits)
    for number, tokens in enumerate(lengths):
        b.add((number, tokens), tokens=tokens, now_s=float(number))
    return b


def drained(b: MicroBatcher[Item]) -> list[Batch[Item]]:
    batches = []
    while (batch := b.take(1e9)) is not None:
        batches.append(batch)
    return batches


def test_a_free_worker_gets_a_single_text_at_once() -> None:
    b = filled([7])
    batch = b.take(0.0)
    assert batch is not None
    assert batch.items == ((0, 7),)
    assert b.take(0.0) is None


def test_nothing_waiting_has_no_deadline() -> None:
    assert batcher().deadline_s is None


def test_linger_counts_from_the_oldest_item() -> None:
    b = batcher(linger_s=0.5)
    b.add((0, 10), tokens=10, now_s=100.0)
    b.add((1, 10), tokens=10, now_s=100.4)
    assert b.deadline_s == 100.5
    assert b.take(100.499) is None
    batch = b.take(100.5)
    assert batch is not None
    assert len(batch.items) == 2


def test_a_full_batch_does_not_linger() -> None:
    b = batcher(linger_s=60.0, max_tokens=20)
    b.add((0, 10), tokens=10, now_s=0.0)
    assert b.take(0.0) is None
    b.add((1, 10), tokens=10, now_s=0.0)
    assert b.take(0.0) is not None


def test_the_item_limit_holds_at_the_limit() -> None:
    for count, expected in ((9, 9), (10, 10), (11, 10)):
        batch = filled([1] * count, max_items=10).take(0.0)
        assert batch is not None
        assert len(batch.items) == expected


def test_the_token_budget_holds_at_the_limit() -> None:
    for tokens, expected in ((9, 10), (10, 10), (11, 9)):
        batch = filled([tokens] * 20, max_tokens=100, max_items=10).take(0.0)
        assert batch is not None
        assert len(batch.items) == expected
        assert batch.padded_tokens <= 100


def test_a_text_over_the_budget_goes_alone() -> None:
    batches = drained(filled([5, 500, 5], max_tokens=100))
    assert ((1, 500),) in [batch.items for batch in batches]


def test_windows_of_a_long_text_count_as_rows() -> None:
    b = batcher(max_tokens=100)
    b.add((0, 30), tokens=30, rows=3, now_s=0.0)
    b.add((1, 30), tokens=30, now_s=0.0)
    batch = b.take(0.0)
    assert batch is not None
    assert (batch.rows, batch.padded_tokens, len(batch.items)) == (3, 90, 1)


def test_short_texts_are_not_padded_to_a_long_one() -> None:
    first, second = drained(filled([90, 3, 4, 3, 4], max_tokens=1000))
    assert first.items == ((0, 90),)
    assert len(second.items) == 4


def test_similar_lengths_travel_together_whatever_their_age() -> None:
    first = filled([10, 90, 11, 80, 10, 85], max_tokens=1000).take(0.0)
    assert first is not None
    assert first.items == ((0, 10), (2, 11), (4, 10))


def test_discarded_items_never_come_back() -> None:
    b = filled([5, 6, 7, 8])
    assert b.discard(lambda item: item[0] % 2 == 0) == 2
    assert len(b) == 2
    assert [item for batch in drained(b) for item in batch.items] == [(1, 6), (3, 8)]


def test_discarding_the_oldest_moves_the_deadline() -> None:
    b = filled([5, 6])
    b.discard(lambda item: item[0] == 0)
    assert b.deadline_s == 1.0


@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=120),
    max_tokens=st.integers(1, 600),
    max_items=st.integers(1, 20),
)
def test_every_item_leaves_exactly_once_within_the_limits(
    lengths: list[int], max_tokens: int, max_items: int
) -> None:
    b = filled(lengths, max_tokens=max_tokens, max_items=max_items)
    seen: list[Item] = []
    while (batch := b.take(1e9)) is not None:
        assert len(batch.items) <= max_items
        assert len(batch.items) == 1 or batch.padded_tokens <= max_tokens
        assert len(batch.items) == 1 or batch.tokens >= 0.75 * batch.padded_tokens
        assert batch.tokens == sum(tokens for _, tokens in batch.items)
        assert list(batch.items) == sorted(batch.items)
        seen += batch.items
    assert sorted(seen) == list(enumerate(lengths))


@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=120),
    max_tokens=st.integers(1, 600),
    max_items=st.integers(1, 20),
)
def test_without_padding_texts_leave_in_arrival_order_under_the_real_tokens(
    lengths: list[int], max_tokens: int, max_items: int
) -> None:
    b: MicroBatcher[Item] = MicroBatcher(max_tokens=max_tokens, max_items=max_items, pads=False)
    for number, tokens in enumerate(lengths):
        b.add((number, tokens), tokens=tokens, now_s=0.0)
    batches = drained(b)
    assert [item for batch in batches for item in batch.items] == list(enumerate(lengths))
    for batch, following in zip(batches, [*batches[1:], None], strict=True):
        assert batch.padded_tokens == batch.tokens
        assert len(batch.items) == 1 or batch.tokens <= max_tokens
        assert len(batch.items) <= max_items
        if following is not None:  # no batch is smaller than it has to be
            is_full = len(batch.items) == max_items
            assert is_full or batch.tokens + following.items[0][1] > max_tokens


def known_cost(*, call_s: float, token_s: float, pads: bool) -> MicroBatcher[Item]:
    b: MicroBatcher[Item] = MicroBatcher(max_tokens=1000, max_items=500, pads=pads)
    for number in range(40):
        tokens = (10, 100, 1000)[number % 3]
        b.cost.learn(tokens=tokens, seconds=call_s + token_s * tokens)
    return b


@pytest.mark.parametrize("pads", [True, False])
@pytest.mark.parametrize(
    ("call_s", "most_tokens"),
    [(0.0, 62), (0.01, 240), (1.0, 970)],  # a call costs as much as no, 10 and 1,000 tokens
)
def test_a_batch_is_no_larger_than_pays(pads: bool, call_s: float, most_tokens: int) -> None:
    b = known_cost(call_s=call_s, token_s=0.001, pads=pads)
    for number in range(190):
        b.add((number, 10), tokens=10, now_s=0.0)
    assert b.is_full
    batch = b.take(0.0)
    assert batch is not None
    assert 0.9 * most_tokens <= batch.padded_tokens <= most_tokens


@pytest.mark.parametrize("pads", [True, False])
def test_full_batches_are_taken_while_three_of_them_wait(pads: bool) -> None:
    b = known_cost(call_s=0.01, token_s=0.001, pads=pads)
    for number in range(300):
        b.add((number, 10), tokens=10, now_s=0.0)
    sizes = [batch.tokens for batch in drained(b)]
    assert sizes[0] == 1000
    assert max(sizes[1:]) <= 240


def test_what_a_batch_costs_never_exceeds_the_limit_of_memory() -> None:
    b = known_cost(call_s=1.0, token_s=0.001, pads=False)
    b.max_tokens = 50
    for number in range(40):
        b.add((number, 10), tokens=10, now_s=0.0)
    assert max(batch.tokens for batch in drained(b)) == 50


def test_without_padding_discarding_keeps_the_order() -> None:
    b: MicroBatcher[Item] = MicroBatcher(max_tokens=100, max_items=10, pads=False)
    for number in range(4):
        b.add((number, 5), tokens=5, now_s=0.0)
    assert b.discard(lambda item: item[0] == 1) == 1
    assert [item[0] for batch in drained(b) for item in batch.items] == [0, 2, 3]


@given(lengths=st.lists(st.integers(1, 300), min_size=1, max_size=60))
def test_every_batch_holds_the_oldest_so_nothing_starves(lengths: list[int]) -> None:
    b = filled(lengths)
    waiting = set(range(len(lengths)))
    while (batch := b.take(1e9)) is not None:
        assert batch.items[0][0] == min(waiting)
        waiting -= {number for number, _ in batch.items}
    assert not waiting


class OneByOne(MicroBatcher[Item]):
    """Compares both sides for every text, also for those as long as the oldest."""

    def _end_of_equal(self, first: int, tokens: int, limit_tokens: int) -> int:
        del tokens, limit_tokens
        return first + 1


@given(
    texts=st.lists(st.tuples(st.integers(1, 6), st.sampled_from([1, 1, 1, 2])), max_size=60),
    between=st.lists(st.booleans(), max_size=60),
    max_tokens=st.integers(1, 60),
    max_items=st.integers(1, 12),
)
def test_texts_of_equal_length_form_the_batches_that_comparing_forms(
    texts: list[tuple[int, int]], between: list[bool], max_tokens: int, max_items: int
) -> None:
    fast, slow = (
        of(max_tokens=max_tokens, max_items=max_items) for of in (MicroBatcher[Item], OneByOne)
    )
    taken: list[tuple[Batch[Item] | None, Batch[Item] | None]] = []
    for number, (tokens, rows) in enumerate(texts):
        for b in (fast, slow):
            b.add((number, tokens), tokens=tokens, rows=rows, now_s=0.0)
        if number < len(between) and between[number]:
            taken.append((fast.take(0.0), slow.take(0.0)))
    assert all(one == other for one, other in taken)
    assert drained(fast) == drained(slow)
