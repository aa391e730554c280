"""What a record costs is counted without noise, and does not grow unseen."""

import json
import platform
from pathlib import Path

import pytest

from benchmarks.record_cost import count

ROOT = Path(__file__).parents[2]
STORED = json.loads((ROOT / "benchmarks" / "results" / "record_cost.json").read_text())
ROOM = 1.05


def test_a_record_costs_no_more_than_what_is_stored() -> None:
    """Measure again, and store it, if it is meant: ``python -m benchmarks.record_cost OTHER``."""
    measured_with = STORED["hardware"]["python"].rpartition(".")[0]
    if not platform.python_version().startswith(measured_with):
        pytest.skip(f"bytecodes differ between versions of Python; stored: {measured_with}")
    found = count(ROOT, ["at_least_once"])["at_least_once"]
    assert found["bytecodes"] <= ROOM * STORED["figures"]["at_least_once_bytecodes"]


def test_a_record_costs_less_than_before_there_were_plans() -> None:
    figures = STORED["figures"]
    for case in ("at_least_once", "exactly_once", "with_repeats"):
        assert figures[f"{case}_bytecodes"] < figures[f"{case}_bytecodes_before"]
