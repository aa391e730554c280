"""The loop around foreign engines, and what becomes of its figures."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import results_file
from benchmarks.engines.__main__ import _kept, figures_of
from benchmarks.engines.loop import batches, in_order

ROWS = st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=40), min_size=1, max_size=60)


@given(rows=ROWS, budget=st.integers(1, 200))
def test_every_row_is_in_one_batch_and_batches_keep_to_the_budget(
    rows: list[list[int]], budget: int
) -> None:
    made, order = batches(rows, budget=budget, pad=0)
    found = [
        row[mask == 1].tolist() for ids, mask in made for row, mask in zip(ids, mask, strict=True)
    ]
    assert found == [rows[place] for place in order]
    assert sorted(order) == list(range(len(rows)))
    for ids, mask in made:
        assert ids.size <= budget or len(ids) == 1
        assert (ids[mask == 0] == 0).all()


@given(rows=ROWS)
def test_labels_come_back_in_the_order_of_the_rows(rows: list[list[int]]) -> None:
    made, order = batches(rows, budget=64, pad=0)
    logits = [np.eye(3, dtype=np.float32)[ids[:, 0] % 3] for ids, _ in made]
    assert in_order(logits, order) == [row[0] % 3 for row in rows]


def test_the_worst_ratio_counts_and_only_with_equal_labels() -> None:
    def row(engine: str, family: str, ratios: list[float], equal: float = 1.0) -> dict[str, object]:
        return {
            "engine": engine, "family": family, "precision": "float32", "ratios": ratios,
            "equal": equal,
        }  # fmt: skip

    found = figures_of(
        [
            row("openvino", "bert", [1.2, 1.3, 9.0]),
            row("openvino", "roberta", [1.0, 1.1, 1.2]),
            row("onnxruntime", "bert", [2.0]),
            row("onnxruntime", "mpnet", [0.5], equal=0.9),
        ]
    )
    assert found["worst_over_openvino"] == pytest.approx(1.1)
    assert found["bert_float32_over_openvino"] == pytest.approx(1.3)
    assert found["worst_over_onnxruntime"] == pytest.approx(2.0)
    assert "mpnet_float32_over_onnxruntime" not in found
    assert found["least_equal_labels"] == pytest.approx(0.9)


@pytest.mark.parametrize(("cpu", "kept"), [("this", ["float32"]), ("another", [])])
def test_rows_that_are_not_measured_again_stay_if_the_processor_is_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cpu: str, kept: list[str]
) -> None:
    monkeypatch.setattr(results_file, "RESULTS", tmp_path)
    monkeypatch.setattr(results_file, "hardware", lambda: {"cpu": "this"})
    rows = [{"family": "bert", "precision": each} for each in ("float32", "bfloat16")]
    assert _kept(rows) == []  # nothing is stored yet
    stored = {"parts": {"engines": {"cpu": cpu, "runs": rows}}}
    (tmp_path / "architectures.json").write_text(json.dumps(stored))
    assert [row["precision"] for row in _kept(rows[1:])] == kept
