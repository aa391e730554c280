"""The long chaos form: its slices add up, and none that failed counts as done."""

from typing import Any

import pytest

from benchmarks.chaos_long import PARTS, _growth, figures_of, next_part, table_of
from testing.chaos.scenarios import SCENARIOS


def part_slice(part: str, count: float, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    usual = {"delivery": "exactly_once", "lost": 0, "doubled": 0, "out_of_order": 0, "passed": True}
    return {"part": part, "count": count, **usual, **more}


COMPLETE = [part_slice(part.name, part.target) for part in PARTS.values()]


def test_the_parts_are_those_that_the_table_promises() -> None:
    targets = {part.name: part.target for part in PARTS.values()}
    assert targets["kills"] >= 200
    assert targets["zombies"] >= 50
    assert targets["rebalances"] >= 100
    assert targets["broker_losses"] >= 10
    assert targets["only_broker_losses"] >= 10
    assert targets["fuzzed_values"] >= 100_000
    assert targets["soak_minutes"] >= 120
    assert targets["upgrades"] >= 1
    assert targets["certificate_rotations"] >= 1
    for part in PARTS.values():
        assert not part.scenario or part.scenario in SCENARIOS
    assert SCENARIOS[PARTS["broker_losses"].scenario].brokers == 3


def test_slices_of_several_runs_add_up_until_all_parts_are_complete() -> None:
    slices: list[dict[str, Any]] = []
    while (part := next_part(slices)) is not None:
        slices.append(part_slice(part.name, part.slice))
        assert len(slices) < 1000
    figures = figures_of(slices)
    assert figures["parts_complete"] == figures["parts"] == len(PARTS)
    for part in PARTS.values():
        assert part.target <= figures[part.name] < part.target + part.slice


def test_a_failed_slice_is_counted_as_failed_and_not_as_done() -> None:
    failed = part_slice("kills", 10, passed=False, lost=3)
    figures = figures_of([*COMPLETE[1:], failed])
    assert (figures["kills"], figures["lost"], figures["slices_failed"]) == (0, 3, 1)
    assert figures["parts_complete"] == len(PARTS) - 1
    found = next_part([*COMPLETE[1:], failed])
    assert found is PARTS["kills"]


def test_one_part_can_be_run_alone_and_ends_when_it_is_complete() -> None:
    found = next_part([], only="soak_minutes")
    assert found is PARTS["soak_minutes"]
    assert next_part(COMPLETE) is None
    assert next_part([part_slice("soak_minutes", 120)], only="soak_minutes") is None


def test_growth_of_memory_is_a_figure_only_where_it_was_measured() -> None:
    assert "memory_growth" not in figures_of([part_slice("soak_minutes", 1, memory_growth=None)])
    both = [part_slice("soak_minutes", 30, memory_growth=each) for each in (0.01, 0.03)]
    assert figures_of(both)["memory_growth"] == 0.03


def test_doubles_of_at_least_once_are_no_damage() -> None:
    slices = [
        part_slice("kills", 5, delivery="at_least_once", doubled=40),
        part_slice("kills", 5, doubled=2),
    ]
    assert figures_of(slices)["exactly_once_doubled"] == 2


def test_what_the_only_broker_doubles_is_counted_apart() -> None:
    slices = [part_slice("only_broker_losses", 2, doubled=8), part_slice("broker_losses", 2)]
    figures = figures_of(slices)
    assert (figures["exactly_once_doubled"], figures["only_broker_doubled"]) == (0, 8)
    assert "| only broker losses | 10 | 2 | 0 | 8 | 0 | 0 |" in table_of(slices)


@pytest.mark.parametrize(("late", "growth"), [(100, 0.0), (102, 0.02), (150, 0.5)])
def test_growth_leaves_out_the_warm_up(late: int, growth: float) -> None:
    assert _growth([10] * 25 + [100] * 50 + [late] * 25) == pytest.approx(growth)
