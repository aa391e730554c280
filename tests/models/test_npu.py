"""Every path that says ``npu``, on a simulated device that refuses what a real one refuses.

Ours are the commands, in processes of their own; the device's results are those of the CPU, so any
difference is one that we make.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from testing.scoring_qwen import ANSWERS, teach_scores
from testing.simulated_npu import differences, run
from tests.models.test_prompts import SPAM
from tests.models.tiny import build_model

pytestmark = [pytest.mark.model, pytest.mark.timeout(900)]

CLOSE = 1e-6
TEXTS = [*ANSWERS, "good match", "酒店很干净", "", "bad stock " * 30]
SCORED = SPAM | {"examples": [], "instruction": "Spam?"}
ELSEWHERE = "operators on another device than the thread's"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("encoder"), "Bert")


@pytest.fixture(scope="module")
def models(
    encoder: Path, tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    scorer = teach_scores(tiny_llm, SCORED, tmp_path_factory.mktemp("scorer"))
    return {
        "encoder": {"backend": "encoder", "path": str(encoder)},
        "one_token": {"backend": "generative", "path": str(tiny_llm), "task": SPAM},
        "prompted": {"backend": "prompted", "path": str(scorer), "task": SCORED},
    }


@pytest.mark.parametrize("device", ["npu", "npu:1"])
@pytest.mark.parametrize("name", ["encoder", "one_token", "prompted"])
def test_a_device_changes_no_probability(
    name: str, device: str, models: Mapping[str, Mapping[str, Any]], tmp_path: Path
) -> None:
    found = differences({name: models[name]}, TEXTS, tmp_path, device)
    assert found[name] <= CLOSE


def classify(
    model: Mapping[str, Any], folder: Path, *more: str, rows: int = 4, **device: int
) -> Any:  # noqa: ANN401 the process and its reports
    texts = [f"good match {i} " * (1 + i % 5) for i in range(rows)]
    (folder / "in.jsonl").write_text("".join(json.dumps({"text": each}) + "\n" for each in texts))
    given = [f"model.{name}={value}" for name, value in model.items()]
    settings = [part for setting in (*given, *more) for part in ("--set", setting)]
    command = ("classify", "--file", "in.jsonl", "--out", "out.jsonl", *settings)
    return run(*command, folder=folder, **device)


def answers(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


def test_every_thread_computes_on_its_own_current_device(encoder: Path, tmp_path: Path) -> None:
    """On the real device, an operator on another device than the thread's is an error or slow."""
    model = {"backend": "encoder", "path": encoder, "device": "npu:1"}
    done, reports = classify(model, tmp_path)
    assert done.returncode == 0, done.stderr
    assert sum(report.get("operators on npu:1", 0) for report in reports) > 0
    assert not any(ELSEWHERE in report for report in reports)


@pytest.mark.parametrize(
    ("device", "simulated", "said"),
    [
        ("npu:2", {}, "npu:2 does not exist, torch finds 2; set npu:0 to npu:1"),
        ("npu", {"devices": 0}, "npu is set, but torch finds no such device"),
    ],
)
def test_a_device_that_does_not_exist_is_refused(
    device: str, simulated: dict[str, int], said: str, encoder: Path, tmp_path: Path
) -> None:
    model = {"backend": "encoder", "path": encoder, "device": device}
    done, _ = classify(model, tmp_path, **simulated)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]


def test_memory_that_runs_out_is_found_at_start_with_the_budget_that_fits(
    encoder: Path, tmp_path: Path
) -> None:
    model = {"backend": "encoder", "path": encoder, "device": "npu", "dtype": "float32"}
    done, reports = classify(model, tmp_path)
    assert done.returncode == 0, done.stderr
    expected = answers(tmp_path)
    tight = int(max(report.get("peak bytes", 0) for report in reports) * 0.8)
    done, reports = classify(model, tmp_path, bytes=tight)
    assert done.returncode == 2
    assert sum(report.get("out of memory", 0) for report in reports) > 0
    assert sum(report.get("empty_cache", 0) for report in reports) > 0
    said = done.stderr.splitlines()[-1]
    found = re.search(r"\(npu:0 is out of memory\); (\d+) fit: set that", said)
    assert found, said
    done, _ = classify(model, tmp_path, f"batching.max_batch_tokens={found[1]}", bytes=tight)
    assert done.returncode == 0, done.stderr
    for one, other in zip(expected, answers(tmp_path), strict=True):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=CLOSE)


def test_a_lost_device_is_replaced_with_its_process(encoder: Path, tmp_path: Path) -> None:
    """The first process loses it in the middle of the texts; the next one answers the rest."""
    model = {"backend": "encoder", "path": encoder, "device": "npu", "dtype": "float32"}
    done, reports = classify(model, tmp_path)
    expected = answers(tmp_path)
    used = sum(report.get("operators on npu:0", 0) for report in reports)
    done, reports = classify(model, tmp_path, lost_after=used - 3)
    assert done.returncode == 0, done.stderr
    assert "lost its device npu:0" in done.stderr
    assert '"event":"worker_restarted"' in done.stderr
    assert sum("operators on npu:0" in report for report in reports) > 1, "two processes"
    assert [row["label"] for row in answers(tmp_path)] == [row["label"] for row in expected]


def train(tmp_path: Path, *command: str | Path) -> list[dict[str, Any]]:
    rows = [{"text": f"good match {i}", "label": "good"} for i in range(15)]
    rows += [{"text": f"bad stock {i}", "label": "bad"} for i in range(15)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = ("--data", "train.jsonl", "--out", "model", "--epochs", "1", "--precision", "bfloat16")
    done, reports = run("train", *command, *data, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    return reports


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_language_model_is_trained(method: str, tiny_llm: Path, tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text(
        "name: t\nanswer_with: letters\nlabels: [{name: good}, {name: bad}]\n"
    )
    base = ("--base", tiny_llm, "--task", "task.yaml", "--method", method, "--device", "npu")
    (report,) = train(tmp_path, "llm", *base)
    assert report["operators on npu:0"] > 100
    assert ELSEWHERE not in report
    name = "adapter_model.safetensors" if method == "lora" else "model.safetensors"
    assert (tmp_path / "model" / name).is_file()
