"""The simulation of schedulers, and how near the service's own comes to the ideal one."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.open_loop import quantile
from benchmarks.scheduling import (
    Costs,
    Service,
    Text,
    arrivals,
    heavy_tailed,
    ideal_p99_s,
    simulate,
)

MINILM = Costs(call_s=0.002, row_s=0.0003, token_s=0.00022)
FULL = 1024


def at_load(share: float, *, seed: int, count: int = 3000, streams: int = 2) -> list[Text]:
    rng = random.Random(seed)
    lengths = heavy_tailed(count, rng)
    whole_s = MINILM.of([Text(0.0, 0, length) for length in lengths])
    return arrivals(lengths, per_s=share * streams * count / whole_s, rng=rng)


def test_one_stream_computes_what_waits_and_delivers_in_order() -> None:
    costs = Costs(call_s=1.0, token_s=0.1)
    texts = [Text(0.0, 0, 10), Text(0.5, 0, 10), Text(0.6, 1, 20), Text(9.0, 1, 10)]
    waits_s = simulate(texts, Service(max_tokens=30), costs.of, streams=1, queued=0)
    # the first alone until 2.0; both that came meanwhile, 30 tokens, until 6.0; the last from 9.0
    assert waits_s == pytest.approx([2.0, 5.5, 5.4, 2.0])


def test_a_text_is_delivered_after_all_earlier_ones_of_its_partition() -> None:
    costs = Costs(call_s=0.0, token_s=0.1)
    texts = [Text(0.0, 0, 100), Text(0.1, 0, 1), Text(0.2, 1, 1)]
    waits_s = simulate(texts, Service(max_tokens=100), costs.of, streams=2, queued=0)
    assert waits_s == pytest.approx([10.0, 9.9, 0.1])


@pytest.mark.parametrize("seed", range(4))
def test_at_80_percent_the_service_is_within_a_quarter_of_the_ideal(seed: int) -> None:
    texts = at_load(0.8, seed=seed)
    waits_s = simulate(texts, Service(max_tokens=FULL), MINILM.of, streams=2)
    ideal_s, _ = ideal_p99_s(texts, MINILM, max_tokens=FULL, streams=2)
    assert quantile(waits_s, 0.99) <= 1.25 * ideal_s


@pytest.mark.parametrize(("load", "most"), [(0.5, 0.98), (0.8, 0.9)])
def test_knowing_costs_lowers_the_latency(load: float, most: float) -> None:
    texts = at_load(load, seed=5)
    p99_s = [
        quantile(
            simulate(texts, Service(max_tokens=FULL, learns=learns), MINILM.of, streams=2), 0.99
        )
        for learns in (True, False)
    ]
    assert p99_s[0] < most * p99_s[1]


def test_costs_are_learned_from_times_that_vary() -> None:
    texts = at_load(0.8, seed=1)
    rng = random.Random(2)

    def noisy(batch: object) -> float:
        return MINILM.of(batch) * rng.lognormvariate(0.0, 0.3)  # type: ignore[arg-type]

    p99_s = [
        quantile(simulate(texts, Service(max_tokens=FULL, learns=learns), noisy, streams=2), 0.99)
        for learns in (True, False)
    ]
    assert p99_s[0] < p99_s[1]


def test_a_backlog_is_computed_as_fast_as_with_full_batches() -> None:
    lengths = heavy_tailed(3000, random.Random(4))
    texts = [Text(0.0, number % 4, tokens) for number, tokens in enumerate(lengths)]
    ends_s = [
        max(simulate(texts, Service(max_tokens=FULL, learns=learns), MINILM.of, streams=2))
        for learns in (True, False)
    ]
    assert ends_s[0] <= 1.005 * ends_s[1]


@given(
    short=st.lists(st.tuples(st.floats(0.0, 2.0), st.integers(1, 60)), min_size=1, max_size=40),
    long_at_s=st.floats(0.0, 2.0),
    long_tokens=st.integers(61, 4000),
    streams=st.integers(1, 2),
)
def test_a_long_text_delays_others_by_its_own_cost_and_a_batch_at_most(
    short: list[tuple[float, int]], long_at_s: float, long_tokens: int, streams: int
) -> None:
    """Texts of other partitions, whatever the long one is: nothing waits for it in line."""
    others = sorted(Text(at_s, 0, tokens) for at_s, tokens in short)
    long = Text(long_at_s, 1, long_tokens)
    both = sorted([*others, long])

    def run(texts: list[Text]) -> list[float]:
        service = Service(max_tokens=FULL)
        waits_s = simulate(texts, service, MINILM.of, streams=streams)
        return [wait_s for text, wait_s in zip(texts, waits_s, strict=True) if text.partition == 0]

    a_batch_s = MINILM.of([Text(0.0, 0, 60)] * (FULL // 60 + 1))
    for without_s, with_s in zip(run(others), run(both), strict=True):
        assert with_s <= without_s + MINILM.of([long]) + a_batch_s + 1e-9
