"""The benchmark of a device runs on a CPU with tiny models, and counts what is necessary."""

from pathlib import Path

import pytest

from benchmarks import gpu


def test_necessary_operations_are_those_of_the_roofline() -> None:
    roofline = pytest.importorskip("benchmarks.roofline")
    for length in (16, 128):
        ours = gpu.useful_flops(gpu.MODELS["minilm"], length)
        assert ours == pytest.approx(roofline.useful_flops(length))


def test_rows_of_the_mix_have_no_special_token_and_many_lengths() -> None:
    rows = gpu.random_rows(300, vocabulary=300)
    assert len({len(row) for row in rows}) > 30
    assert all(4 <= len(row) <= 512 and row.min() >= 4 and row.max() < 300 for row in rows)


@pytest.mark.model
@pytest.mark.timeout(300)
def test_without_a_device_tiny_models_run_and_nothing_is_stored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("benchmarks.results_file.RESULTS", tmp_path)
    figures = gpu.main(["--seconds", "0.3", "--models", "tiny_xlm_r", "llm"])
    for figure in ("share", "over_padded", "service_over_engine", "rows_per_s"):
        assert figures[f"tiny_xlm_r_{figure}"] > 0
    assert figures["llm_over_generate"] == pytest.approx(
        figures["llm_texts_per_s"] / figures["llm_generate_texts_per_s"]
    )
    assert not any(name.startswith("tiny_bert") for name in figures)
    assert not list(tmp_path.iterdir())
