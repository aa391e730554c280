"""The arithmetic of benchmarks.capacity, and that docs/capacity.md shows what it gives."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import capacity
from benchmarks.fleet_size import Measured, Wanted, bottleneck, fleet, table

FOUND = Measured(
    per_process=100.0,
    process_cores=2,
    process_mib=512.0,
    consumer_per_s=10_000.0,
    consumer_us=200.0,
    broker_us=50.0,
    broker_full_us=5.0,
    input_bytes=300.0,
    output_bytes=700.0,
    members=10,
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
    assert fleet(replace(FOUND, members=125), WANTED).groups == 1


def test_what_needs_most_cores_is_used_up_first() -> None:
    assert bottleneck(fleet(FOUND, WANTED)).startswith("the model: 99%")
    dear = replace(FOUND, broker_us=1_000_000.0)
    assert bottleneck(fleet(dear, WANTED)).startswith("the brokers")


def test_a_model_faster_than_the_consumer_process_is_no_help() -> None:
    fast = replace(FOUND, per_process=50_000.0)
    answer = fleet(fast, WANTED)
    assert answer.processes == 2  # 10,000 / (0.8 x 10,000), rounded up
    assert bottleneck(answer).startswith("the consumer process")


def test_the_table_names_the_measured_inputs() -> None:
    shown = table(FOUND, WANTED)
    for part in ("100.0 texts/s on 2 cores", "| 125 |", "200 µs a text", "300 + 700 bytes"):
        assert part in shown


def write_results(folder: Path) -> None:
    stored: dict[str, dict[str, Any]] = {
        "throughput": {
            "figures": {"service_texts_per_s": 100.0, "service_peak_mib": 512.0},
            "hardware": {"cores": 2},
        },
        "scale": {
            "figures": {
                "service_cpu_us_per_record": 200.0,
                "broker_cpu_us_per_record": 50.0,
                "null_broker_cpu_us_per_record": 5.0,
                "input_bytes_per_record": 300.0,
                "output_bytes_per_record": 700.0,
            },
            "rows": [{"processes": 1}, {"processes": 10}],
            "first_bottleneck": "none up to 10 processes",
        },
        "delivery": {"figures": {"alo_records_per_s": 10_000.0}},
    }
    for name, content in stored.items():
        (folder / f"{name}.json").write_text(json.dumps(content))


def test_inputs_come_from_the_result_files(tmp_path: Path) -> None:
    write_results(tmp_path)
    assert capacity.measured(tmp_path) == FOUND
    assert "first bottleneck was: none up to 10 processes." in capacity.block(tmp_path)


def test_the_page_says_what_is_not_measured_yet(tmp_path: Path) -> None:
    assert "`python -m benchmarks.throughput`" in capacity.block(tmp_path)


def test_options_replace_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_results(tmp_path)
    monkeypatch.setattr(capacity, "RESULTS", tmp_path)
    capacity.main(["--texts-per-s", "800", "--per-process", "1000", "--headroom", "0"])
    assert "| 1 |" in capsys.readouterr().out


def test_the_page_is_up_to_date() -> None:
    """If this fails, run scripts/generate."""
    shown = capacity.PAGE.read_text().partition(capacity.BEGIN)[2].partition(capacity.END)[0]
    assert shown.strip() == capacity.block(capacity.RESULTS).strip()
