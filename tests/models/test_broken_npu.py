"""torch_npu is installed and CANN is not: every device that does not need it works."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.models.tiny import build_model

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

WHY = "libhccl.so: cannot open shared object file"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with a torch_npu as pip installs it, which cannot be imported."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "torch_npu").mkdir()
    (folder / "torch_npu" / "__init__.py").write_text(f"raise ImportError({WHY!r})\n")
    about = folder / "torch_npu-2.10.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: torch_npu\nVersion: 2.10.0\n")
    (about / "entry_points.txt").write_text("[torch.backends]\ntorch_npu = torch_npu:_autoload\n")
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("encoder"), "DistilBert")


def run(site: Path, *command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    environ = {k: v for k, v in os.environ.items() if k != "TORCH_DEVICE_BACKEND_AUTOLOAD"}
    return subprocess.run(
        [sys.executable, *map(str, command)],
        env=environ | {"PYTHONPATH": str(site)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def classify(site: Path, folder: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    (folder / "in.txt").write_text("good match\nbad stock\n")
    given = [part for setting in settings for part in ("--set", setting)]
    return run(site, "-m", "streamlabel", "classify", "-f", "in.txt", *given, folder=folder)


def test_without_us_no_device_works(site: Path, tmp_path: Path) -> None:
    done = run(site, "-c", "import torch", folder=tmp_path)
    assert "Failed to load the backend extension: torch_npu" in done.stderr


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_an_encoder_classifies(site: Path, encoder: Path, tmp_path: Path, device: str) -> None:
    settings = ("model.backend=encoder", f"model.path={encoder}", f"model.device={device}")
    done = classify(site, tmp_path, *settings)
    assert done.returncode == 0, done.stderr
    assert [json.loads(row)["source"]["offset"] for row in done.stdout.splitlines()] == [1, 2]
    assert ("torch_npu_unusable" in done.stderr) == (device == "auto")


def test_a_language_model_classifies(site: Path, tiny_llm: Path, tmp_path: Path) -> None:
    task = json.dumps({"name": "t", "labels": [{"name": "ham"}, {"name": "spam"}]})
    settings = ("model.backend=generative", f"model.path={tiny_llm}", f"model.task={task}")
    done = classify(site, tmp_path, *settings, "model.device=cpu", "model.max_tokens=512")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2


def test_an_npu_that_was_asked_for_is_refused_with_the_cause(
    site: Path, encoder: Path, tmp_path: Path
) -> None:
    settings = ("model.backend=encoder", f"model.path={encoder}", "model.device=npu")
    done = classify(site, tmp_path, *settings)
    assert done.returncode == 2
    (sentence,) = done.stderr.splitlines()[-1:]
    assert sentence.startswith("streamlabel: model.device: npu: torch_npu is installed but cannot")
    assert WHY in sentence
    assert "CANN" in sentence


def train(tmp_path: Path, *more: str | Path) -> Sequence[str | Path]:
    rows = [{"text": f"good match {i}", "label": "good"} for i in range(15)]
    rows += [{"text": f"bad stock {i}", "label": "bad"} for i in range(15)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = ("--data", "train.jsonl", "--out", "model", "--epochs", "1")
    return ("-m", "streamlabel", "train", *more, *data)


def test_an_encoder_is_trained(site: Path, encoder: Path, tmp_path: Path) -> None:
    done = run(site, *train(tmp_path, "encoder", "--base", encoder), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model" / "config.json").is_file()


def test_a_language_model_is_trained(site: Path, tiny_llm: Path, tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text(
        "name: t\nanswer_with: letters\nlabels: [{name: good}, {name: bad}]\n"
    )
    command = train(tmp_path, "llm", "--base", tiny_llm, "--task", "task.yaml")
    done = run(site, *command, "--device", "cpu", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model" / "adapter_config.json").is_file()
