"""What benchmarks.scale makes of what it saw."""

import pytest

from benchmarks.fleet import Drained
from benchmarks.scale_page import efficiency, figures, first_bottleneck


def drained(processes: int, per_s: float, *, busy: float = 1.0) -> Drained:
    return Drained(
        processes=processes,
        records=1000,
        records_per_s=per_s,
        output_bytes=600.0,
        seconds=10.0,
        cores=2,
        busy_cores=busy,
        service_cores=0.5,
        worker_cores=0.1,
        broker_cores=0.2,
    )


def test_no_bottleneck_is_named_while_processes_scale() -> None:
    rows = [drained(1, 100.0), drained(2, 190.0)]
    assert efficiency(rows[1], rows) == pytest.approx(0.95)
    assert first_bottleneck(rows).startswith("none up to 2 processes, which make 95% of 2 times")


def test_the_first_fleet_that_falls_short_names_what_was_used_up() -> None:
    rows = [drained(1, 100.0), drained(2, 170.0, busy=1.9), drained(4, 180.0, busy=2.0)]
    found = first_bottleneck(rows)
    assert found.startswith("the 2 cores of this machine (2 processes make 85% of 2 times one")
    assert found.index("everything else 1.10") < found.index("consumer processes 0.50")


def test_one_fleet_that_falls_short_before_larger_ones_that_do_not_is_noise() -> None:
    rows = [drained(1, 100.0), drained(2, 170.0), drained(4, 400.0)]
    assert first_bottleneck(rows).startswith("none up to 4 processes")


def test_cpu_time_is_that_of_the_largest_fleet_that_scales() -> None:
    rows = [drained(1, 100.0), drained(2, 200.0), drained(4, 210.0)]
    null = {name: {1: [drained(1, 900.0)], 2: [drained(2, 1200.0)]} for name in ("null", "bare")}
    found = figures(rows, null)
    assert found["cpu_measured_with_processes"] == 2
    assert found["service_cpu_us_per_record"] == pytest.approx(5000.0)
    assert found["scale_efficiency_4"] == pytest.approx(0.525)
    assert found["null_two_over_one"] == pytest.approx(4 / 3)


def test_idle_cores_are_not_blamed() -> None:
    rows = [drained(1, 100.0), drained(2, 120.0, busy=1.0)]
    assert first_bottleneck(rows).startswith("none of the cores' time")


def test_cpu_time_a_record_is_cores_times_seconds() -> None:
    assert drained(1, 100.0).us_per_record(0.5) == pytest.approx(5000.0)
