"""The length of texts in training is that of serving, or check, calibrate and evaluate say so."""

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamlabel.__main__ import app
from streamlabel.config.model import EncoderSettings, GenerativeSettings
from streamlabel.config.settings import Settings
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.core.system_clock import SystemClock
from streamlabel.models.encoder import classifier as encoder_backend
from streamlabel.models.files.trained_length import other_length
from streamlabel.models.llm import generative
from streamlabel.tools.preflight import PreflightCheck, check_model
from tests.models.test_prompts import SPAM
from tests.models.tiny import build_model

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder with random weights, for 64 tokens."""
    return build_model(tmp_path_factory.mktemp("base"), labels=None, num_labels=2)


def rows(path: Path, count: int, *, first: int = 0) -> Path:
    texts = [
        {"text": f"{label} match {n}", "label": label}
        for n in range(first, first + count)
        for label in ("good", "bad")
    ]
    path.write_text("".join(json.dumps(text) + "\n" for text in texts))
    return path


def run(*arguments: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*map(str, arguments)])
    return done.exit_code, done.stderr


def trained(base: Path, folder: Path, *more: str) -> Path:
    data, out = rows(folder / "train.jsonl", 15), folder / "model"
    code, said = run(
        "train", "encoder", "--data", data, "--base", base, "--out", out, "--epochs", "1", *more
    )
    assert code == 0, said
    return out


def served(folder: Path, **settings: int) -> tuple[int | None, str | None]:
    """Return the length of serving, and what is said about it."""
    classifier = encoder_backend.load(
        EncoderSettings.model_validate({"path": str(folder), "device": "cpu", **settings})
    )
    limit = classifier.hints.max_tokens
    said = other_length(classifier.identity.details, limit)
    asyncio.run(classifier.close())
    return limit, said


def test_training_takes_the_length_of_serving_and_serving_that_of_the_training(
    base: Path, tmp_path: Path
) -> None:
    out = trained(base, tmp_path)
    assert json.loads((out / "training.json").read_text()) == {"max_tokens": 64}
    assert served(out) == (64, None)
    shorter = trained(base, tmp_path, "--overwrite", "--max-tokens", "16")
    assert served(shorter) == (16, None), "without a setting, texts are cut as in training"
    limit, said = served(shorter, max_tokens=32)
    assert limit == 32
    assert said is not None
    assert "trained with at most 16 tokens and is served with 32" in said


def test_a_length_that_the_base_does_not_have_is_refused(base: Path, tmp_path: Path) -> None:
    data = rows(tmp_path / "train.jsonl", 15)
    code, said = run(
        "train", "encoder", "--data", data, "--base", base, "--out", tmp_path / "m",
        "--max-tokens", "65",
    )  # fmt: skip
    assert code == 2
    assert "--max-tokens" in said
    assert "65 is more than the model's 64; lower it" in said


def test_check_evaluate_calibrate_and_classify_say_it_in_one_line(
    base: Path, tmp_path: Path
) -> None:
    out = trained(base, tmp_path, "--max-tokens", "16")
    model = {"backend": "encoder", "path": str(out), "device": "cpu", "max_tokens": 32}
    settings = Settings.model_validate({"model": model})

    async def checks() -> list[PreflightCheck]:
        found = check_model(settings, clock=SystemClock(), configure_worker=None, topics={})
        return [each async for each in found]

    (warning,) = [each for check in asyncio.run(checks()) for each in check.warnings]
    assert "trained with at most 16 tokens and is served with 32" in warning
    given = [part for name, value in model.items() for part in ("--set", f"model.{name}={value}")]
    dev = rows(tmp_path / "dev.jsonl", 40, first=100)
    code, said = run("evaluate", *given, "--data", dev, "--out", tmp_path / "report")
    assert code == 0, said
    assert said.count(f"warning: {warning}") == 1
    code, said = run("calibrate", *given, "--data", dev, "-o", tmp_path / "c.yaml")
    assert code == 0, said
    assert said.count(f"warning: {warning}") == 1
    code, said = run("classify", "--file", dev, *given, "--out", tmp_path / "labels.jsonl")
    assert code == 0, said
    assert said.count("is served with 32") == 1
    stored = CalibrationFile.read(tmp_path / "c.yaml").settings
    assert stored is not None
    assert stored.predictions["model.max_tokens"] == 32


def test_a_language_model_keeps_the_length_of_its_prompts(tiny_llm: Path, tmp_path: Path) -> None:
    data = tmp_path / "train.jsonl"
    texts = [{"text": f"Hello {n}", "label": ("ham", "spam")[n % 2]} for n in range(30)]
    data.write_text("".join(json.dumps(text) + "\n" for text in texts))
    (tmp_path / "task.yaml").write_text(json.dumps(SPAM))
    out = tmp_path / "adapter"
    code, said = run(
        "train", "llm", "--data", data, "--base", tiny_llm, "--task", tmp_path / "task.yaml",
        "--out", out, "--device", "cpu", "--epochs", "1",
    )  # fmt: skip
    assert code == 0, said
    assert json.loads((out / "training.json").read_text()) == {"max_tokens": 1024}
    model = {"path": str(tiny_llm), "adapter": str(out), "task": str(out / "task.yaml")}
    for limit, is_said in ((4096, False), (512, True)):
        classifier = generative.load(
            GenerativeSettings.model_validate(model | {"device": "cpu", "max_tokens": limit})
        )
        found = other_length(classifier.identity.details, classifier.hints.max_tokens)
        asyncio.run(classifier.close())
        assert (found is not None) == is_said
