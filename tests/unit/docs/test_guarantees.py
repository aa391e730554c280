"""docs/guarantees.md names tests and chaos scenarios that exist, for every line of the matrix."""

import ast
import re
from pathlib import Path

from testing.chaos.scenarios import SCENARIOS

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "guarantees.md").read_text()
ROWS = re.findall(r"^\| (\d+) \| (.*) \|$", PAGE, flags=re.MULTILINE)
NOT_PROMISED = {12}  # language models


def functions_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


def test_every_line_of_the_matrix_is_there_once() -> None:
    assert [int(number) for number, _ in ROWS] == list(range(1, 26))


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 40
    for path, name in named:
        assert name in functions_in(path), f"{path}::{name}"


def test_every_chaos_scenario_that_is_named_exists() -> None:
    known = {scenario.name for scenario in SCENARIOS.values()}
    for listed in re.findall(r"chaos: ((?:`[^`:]+`(?:, )?)+)", PAGE):
        assert set(re.findall(r"`([^`]+)`", listed)) <= known, listed


def test_every_line_has_a_test() -> None:
    for number, row in ROWS:
        assert "::test_" in row or int(number) in NOT_PROMISED, number
