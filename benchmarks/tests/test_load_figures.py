"""What benchmarks.latency makes of what it saw."""

import itertools
import random

import pytest

from benchmarks.burst import burst_arrivals, judge
from benchmarks.open_loop import Arrival, Published, poisson, quantile, waits_s


def published(key: str, at_s: float, offset: int, partition: int = 0) -> Published:
    return Published(key, at_s, ("labels", partition), offset)


def test_poisson_arrivals_have_the_rate_and_no_rhythm() -> None:
    arrivals = poisson(["text"] * 20_000, per_s=50.0, rng=random.Random(1), prefix="p")
    gaps = [b.at_s - a.at_s for a, b in itertools.pairwise(arrivals)]
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(0.02, rel=0.03)
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    assert variance == pytest.approx(mean**2, rel=0.1)  # exponential
    assert len({arrival.key for arrival in arrivals}) == len(arrivals)


def test_a_quantile_is_a_value_that_was_seen() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([1.0], 0.99) == 1.0


def test_every_record_needs_one_output() -> None:
    due_s = {"a": 1.0, "b": 2.0}
    assert waits_s(due_s, [published("b", 2.5, 1), published("a", 2.0, 0)]) == {"b": 0.5, "a": 1.0}
    for wrong in (["a"], ["a", "b", "b"], ["a", "c"]):
        with pytest.raises(SystemExit):
            waits_s(due_s, [published(key, 3.0, n) for n, key in enumerate(wrong)])


def test_a_burst_is_judged_by_its_own_rate() -> None:
    arrivals = [Arrival(0.0, f"burst-{n}", "text") for n in range(8)]
    arrivals += [Arrival(1.0, "fresh-0", "text"), Arrival(9.0, "fresh-1", "text")]
    due_s = {each.key: each.at_s for each in arrivals}
    outputs = [published(f"burst-{n}", (n + 1) / 2, n) for n in range(8)]  # two a second
    outputs += [published("fresh-0", 4.0, 8), published("fresh-1", 9.5, 9)]
    found = judge(arrivals, due_s, outputs)
    assert found.texts_per_s == pytest.approx(9 / 4)
    assert len(found.texts) == 9
    assert found.fresh == 1  # the other came when all was over
    assert found.longest_fresh_s == pytest.approx(3.0)
    # Six in front and itself: 7 / 2.25 a second.
    assert found.longest_over_backlog == pytest.approx(3.0 / (7 / 2.25))
    assert found.out_of_order == 0


def test_an_output_behind_a_later_one_of_its_partition_is_counted() -> None:
    arrivals = [Arrival(0.0, f"burst-{n}", "t") for n in range(3)] + [Arrival(0.1, "fresh-0", "t")]
    due_s = {each.key: each.at_s for each in arrivals}
    outputs = [
        published("burst-1", 1.0, 0),
        published("burst-0", 1.0, 1),
        published("burst-2", 2.0, 0, partition=1),
        published("fresh-0", 2.0, 1, partition=1),
    ]
    assert judge(arrivals, due_s, outputs).out_of_order == 1


def test_fresh_texts_arrive_behind_the_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.burst.texts.heavy_tailed_mix", lambda: ["x" * 9, "y"] * 60)
    monkeypatch.setattr("benchmarks.burst.texts.uniform_short", lambda: ["short"])
    arrivals = burst_arrivals(50, seconds=4.0, rng=random.Random(1))
    assert [each.key.partition("-")[0] for each in arrivals[:50]] == ["burst"] * 50
    later = [each.key.partition("-")[0] for each in arrivals[50:]]
    assert (later.count("fresh"), later.count("long")) == (20, 2)
    assert all(each.text == "x" * 9 for each in arrivals if each.key.startswith("long"))
