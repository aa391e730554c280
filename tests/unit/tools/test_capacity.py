"""What a deployment takes: the arithmetic, and the measurement that it begins with."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from streamlabel.__main__ import app
from streamlabel.errors import ConfigError
from streamlabel.tools.capacity import rate_of
from streamlabel.tools.fleet_size import KafkaCosts, Measured, Wanted, bottleneck, fleet
from streamlabel.tools.fleet_table import markdown, rows

COSTS = KafkaCosts(
    consumer_per_s=10_000.0, consumer_us=200.0, broker_us=50.0, broker_full_us=5.0, members=10
)
FOUND = Measured(
    per_process=100.0,
    process_cores=2,
    process_mib=512.0,
    input_bytes=300.0,
    output_bytes=700.0,
    kafka=COSTS,
)
WANTED = Wanted(texts_per_s=8000.0, load=0.8, headroom=0.25)


def test_processes_carry_the_peak_at_their_share_of_load() -> None:
    answer = fleet(FOUND, WANTED)
    assert answer.peak_per_s == 10_000
    assert answer.processes == 125  # 10,000 / (0.8 x 100)
    assert answer.process_cores == 250
    assert answer.memory_gib == 62.5


def test_one_text_more_than_the_processes_carry_takes_one_process_more() -> None:
    assert fleet(FOUND, replace(WANTED, texts_per_s=8000.1)).processes == 126


def test_cores_of_consumers_and_brokers_are_cpu_time_a_second() -> None:
    answer = fleet(FOUND, WANTED)
    assert answer.consumer_cores == pytest.approx(2.0)
    assert answer.broker_cores == pytest.approx(0.5)
    assert answer.broker_full_cores == pytest.approx(0.05)


def test_bytes_are_counted_per_copy_and_per_reader() -> None:
    answer = fleet(FOUND, replace(WANTED, replication=3))
    assert answer.produced_mb_s == pytest.approx(10.0)  # 10,000 x (300 + 700) bytes
    assert answer.stored_mb_s == pytest.approx(30.0)
    assert answer.sent_mb_s == pytest.approx(30.0)  # to two replicas, and all of it read once
    assert fleet(FOUND, replace(WANTED, replication=1)).stored_mb_s == pytest.approx(10.0)


def test_every_process_has_two_partitions_unless_told_otherwise() -> None:
    assert fleet(FOUND, WANTED).partitions == 250
    assert fleet(FOUND, WANTED).busiest == 1.0
    assert fleet(FOUND, replace(WANTED, partitions=125)).busiest == 1.0
    assert fleet(FOUND, replace(WANTED, partitions=126)).busiest == pytest.approx(2 / (126 / 125))


def test_fewer_partitions_than_processes_are_refused() -> None:
    with pytest.raises(ValueError, match="125 processes"):
        fleet(FOUND, replace(WANTED, partitions=124))


def test_no_group_is_larger_than_one_that_was_measured() -> None:
    assert fleet(FOUND, WANTED).groups == 13
    assert fleet(replace(FOUND, kafka=replace(COSTS, members=125)), WANTED).groups == 1


def test_what_needs_most_cores_is_used_up_first() -> None:
    assert bottleneck(fleet(FOUND, WANTED)).startswith("the model: 99%")
    dear = replace(FOUND, kafka=replace(COSTS, broker_us=1_000_000.0))
    assert bottleneck(fleet(dear, WANTED)).startswith("the brokers")


def test_a_model_faster_than_the_consumer_process_is_no_help() -> None:
    fast = replace(FOUND, per_process=50_000.0)
    answer = fleet(fast, WANTED)
    assert answer.processes == 2  # 10,000 / (0.8 x 10,000), rounded up
    assert bottleneck(answer).startswith("the consumer process")


def test_the_table_names_the_measured_inputs() -> None:
    shown = markdown(rows(FOUND, WANTED))
    for part in ("100.0 texts/s on 2 cores", "| 125 |", "200 µs a text", "300 + 700 bytes"):
        assert part in shown


def test_brokers_carry_all_copies_and_are_no_fewer_than_these() -> None:
    assert fleet(FOUND, WANTED).brokers == 3
    busy = replace(FOUND, kafka=replace(COSTS, broker_us=3200.0))  # 32 cores, 96 with the copies
    assert fleet(busy, replace(WANTED, broker_cores=8)).brokers == 15  # of 6.4 cores at 80 %
    assert fleet(busy, replace(WANTED, broker_cores=8, replication=1)).brokers == 5


def test_a_scaler_adds_a_process_for_what_one_makes_in_the_lag() -> None:
    answer = fleet(FOUND, replace(WANTED, lag_s=30.0, partitions=200))
    assert answer.lag_threshold == 3000
    assert answer.activation_lag == 200
    assert fleet(replace(FOUND, per_process=0.01), WANTED).lag_threshold == 1


def test_the_price_is_that_of_all_processes_all_the_time() -> None:
    answer = fleet(FOUND, replace(WANTED, process_price=0.5))
    assert answer.price_month == pytest.approx(0.5 * 125 * 730)
    assert answer.price_million == pytest.approx(0.5 * 125 / (8000 * 3600) * 1e6)
    assert fleet(FOUND, WANTED).price_month is None


def test_memory_that_is_not_known_is_not_shown() -> None:
    unknown = replace(FOUND, process_mib=None)
    assert fleet(unknown, WANTED).memory_gib is None
    assert "memory" not in markdown(rows(unknown, WANTED))


@given(
    st.floats(0.1, 1e6), st.floats(0.1, 1e5), st.floats(0.05, 1), st.floats(0, 3), st.integers(1, 5)
)
def test_a_fleet_always_carries_its_peak(
    wanted_per_s: float, per_process: float, load: float, headroom: float, replication: int
) -> None:
    wanted = Wanted(texts_per_s=wanted_per_s, load=load, headroom=headroom, replication=replication)
    answer = fleet(replace(FOUND, per_process=per_process), wanted)
    each = min(per_process, COSTS.consumer_per_s) * load
    assert answer.processes * each >= answer.peak_per_s * (1 - 1e-9)
    assert (answer.processes - 1) * each <= answer.peak_per_s * (1 + 1e-9)
    assert answer.partitions >= answer.processes
    assert answer.brokers >= replication


def test_the_rate_is_that_between_batches_without_the_first_fifth() -> None:
    slow_start = [(0.0, 0), (1.0, 1), (2.0, 2)]
    steady = [(2.0 + n, 2 + 100 * n) for n in range(1, 9)]
    assert rate_of([*slow_start, *steady], seconds=10.0) == pytest.approx(100.0)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_rate_of_too_few_batches_is_refused(count: int) -> None:
    marks = [(10.0 + n, n) for n in range(count)]
    with pytest.raises(ConfigError, match="--seconds"):
        rate_of(marks, seconds=0.1 if count < 3 else 10.0)


def run(*arguments: str) -> Any:  # noqa: ANN401 typer's result
    return CliRunner().invoke(app, ["capacity", *arguments])


def test_the_command_measures_a_process_and_plans_with_it(tmp_path: Path) -> None:
    """The model sleeps for 20 ms a batch of at most 8 texts, so that its rate is known."""
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(f"a text of five words {n}" for n in range(50)))
    options = ["model.backend=fake", "model.batch_s=0.02", "batching.max_batch_items=8"]
    sets = [word for each in options for word in ("--set", each)]
    done = run("--texts-per-s", "1000", "--seconds", "2", "-f", str(file), "--json", *sets)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    rate = found["measured"]["per_process"]
    assert 100 < rate <= 400 * 1.1  # 8 texts in 20 ms, or slower on a busy machine
    assert found["measured"]["process_mib"] > 10
    assert 20 < found["measured"]["input_bytes"] < 30
    assert found["measured"]["output_bytes"] > 100
    assert found["deployment"]["processes"] == math.ceil(1300 / (0.8 * rate))
    assert found["deployment"]["lag_threshold"] == math.floor(60 * rate)


def test_a_rate_that_is_known_needs_no_model() -> None:
    known = ("--per-process", "100", "--process-cores", "4")
    done = run("--texts-per-s", "800", "--headroom", "0", *known)
    assert done.exit_code == 0, done.output
    assert "100.0 texts/s on 4 cores" in done.stdout
    assert re.search(r"service processes, each at 80% +10\n", done.stdout)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--per-process", "1", "--partitions", "3"), "--partitions: 1,250 processes need"),
        (("--set", "model.backend=fake", "-f", "EMPTY"), "there are no texts in it"),
    ],
)
def test_what_cannot_be_planned_says_what_to_change(
    options: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    done = run(
        "--texts-per-s",
        "1000",
        "--headroom",
        "0",
        *(str(empty) if o == "EMPTY" else o for o in options),
    )
    assert done.exit_code == 2
    assert says in done.output
