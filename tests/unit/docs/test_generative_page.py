"""docs/generative.md names tests that exist, and says of every example where its twin runs."""

import re
from pathlib import Path

from testing.twins import EXAMPLES
from tests.kafka.test_twins import NAMES
from tests.unit.docs.test_guarantees import functions_in

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "generative.md").read_text()


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 30
    for path, name in named:
        assert name in functions_in(path), f"{path}::{name}"


def test_every_comparison_has_a_test() -> None:
    table = PAGE.partition("## Parity")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 20
    assert [row for row in rows if "---" not in row and "::test_" not in row] == []


def test_every_example_has_a_twin_that_runs() -> None:
    shared = set(re.findall(r'"(vllm-[\w-]+)"', _parameters_of_the_shared_engine()))
    assert {*NAMES, "vllm-cpu", *shared} == set(EXAMPLES)


def _parameters_of_the_shared_engine() -> str:
    source = (ROOT / "tests" / "models" / "test_vllm.py").read_text()
    before = source.partition("async def test_the_twin_of_an_example_answers_on_this_engine")[0]
    return before.rpartition("@pytest.mark.parametrize")[2]
