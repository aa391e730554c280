"""docs/capacity.md shows what the results give, and the product plans with the same figures."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import capacity
from streamlabel.tools.fleet_size import KAFKA, USUAL_BYTES, KafkaCosts, Measured

FOUND = Measured(
    per_process=100.0,
    process_cores=2,
    process_mib=512.0,
    input_bytes=300.0,
    output_bytes=700.0,
    kafka=KafkaCosts(
        consumer_per_s=10_000.0, consumer_us=200.0, broker_us=50.0, broker_full_us=5.0, members=10
    ),
)


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


def test_the_page_is_up_to_date() -> None:
    """If this fails, run scripts/generate."""
    shown = capacity.PAGE.read_text().partition(capacity.BEGIN)[2].partition(capacity.END)[0]
    assert shown.strip() == capacity.block(capacity.RESULTS).strip()


def test_the_figures_of_the_product_are_those_of_the_results() -> None:
    """If this fails, the results were measured again: change ``KAFKA`` in fleet_size.py."""
    found = capacity.measured(capacity.RESULTS)
    for name in KafkaCosts.__slots__:
        assert getattr(KAFKA, name) == pytest.approx(getattr(found.kafka, name), rel=0.01)
    assert pytest.approx((found.input_bytes, found.output_bytes), rel=0.01) == USUAL_BYTES
