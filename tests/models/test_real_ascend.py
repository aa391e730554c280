"""The real torch_npu and vllm-ascend on a machine without CANN: what works, and what is refused."""

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.models.test_broken_npu import WHY
from tests.models.tiny import build_model
from tests.requirements import missing

pytestmark = [pytest.mark.model, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
# Where `make ascend` unpacks them.
SITE = ROOT / ".demo" / "ascend"
PINS = dict(
    line.split("==")
    for line in (ROOT / "requirements" / "ascend.txt").read_text().splitlines()
    if "==" in line
)


@pytest.fixture(scope="module")
def site() -> Path:
    if not (SITE / ".ready").is_file():
        missing("torch_npu and vllm-ascend are not here: `make ascend` unpacks them (Linux only)")
    if any(Path(folder, "libhccl.so").is_file() for folder in _library_folders()):
        pytest.skip("CANN is installed here, so the import does not fail")
    return SITE


def _library_folders() -> list[str]:
    return [folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("encoder"), "DistilBert")


def run(site: Path, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if k != "TORCH_DEVICE_BACKEND_AUTOLOAD"}
    return subprocess.run(
        [sys.executable, *command],
        env=kept | {"PYTHONPATH": f"{site}:{ROOT}"} | environ,
        capture_output=True,
        text=True,
        check=False,
    )


def classify(
    site: Path, folder: Path, model: Path, device: str
) -> subprocess.CompletedProcess[str]:
    (folder / "in.txt").write_text("good match\nbad stock\n")
    given = ("model.backend=encoder", f"model.path={model}", f"model.device={device}")
    settings = [part for setting in given for part in ("--set", setting)]
    return run(site, "-m", "streamlabel", "classify", "-f", str(folder / "in.txt"), *settings)


def test_the_fake_of_the_other_tests_fails_as_the_real_one(site: Path) -> None:
    done = run(site, "-c", "import torch_npu", TORCH_DEVICE_BACKEND_AUTOLOAD="0")
    assert done.returncode != 0
    assert f"ImportError: {WHY}" in done.stderr
    done = run(site, "-c", "import torch")
    assert "Failed to load the backend extension: torch_npu" in done.stderr


def test_they_are_those_for_the_pinned_torch(site: Path) -> None:
    folders = {each.name for each in site.glob("*.dist-info")}
    for name, version in PINS.items():
        assert f"{name.replace('-', '_')}-{version}.dist-info" in folders
    torch = importlib.metadata.version("torch").partition("+")[0]
    assert PINS["torch_npu"] == torch


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_other_devices_work_beside_it(
    site: Path, encoder: Path, tmp_path: Path, device: str
) -> None:
    done = classify(site, tmp_path, encoder, device)
    assert done.returncode == 0, done.stderr
    labels = [json.loads(row)["model"]["device"] for row in done.stdout.splitlines()]
    assert labels == ["cpu", "cpu"]
    assert ("torch_npu_unusable" in done.stderr) == (device == "auto")


def test_an_npu_is_refused_with_what_is_missing(site: Path, encoder: Path, tmp_path: Path) -> None:
    done = classify(site, tmp_path, encoder, "npu")
    assert done.returncode == 2
    (sentence,) = done.stderr.splitlines()[-1:]
    assert sentence.startswith("streamlabel: model.device: npu: torch_npu is installed but cannot")
    assert WHY in sentence
    assert "source CANN's set_env.sh" in sentence


ASK = """
from streamlabel.config.engines import VllmSettings
from streamlabel.errors import ConfigError
from streamlabel.models.vllm.platform import find_capabilities
from streamlabel.models.vllm.start import prepare_environment
settings = VllmSettings.model_validate({"path": "x", "mode": "encoder", "device": DEVICE})
try:
    prepare_environment(settings.device)
    print(find_capabilities(settings).platform)
except ConfigError as error:
    print("refused:", error)
"""


def capabilities(site: Path, device: str, **environ: str) -> str:
    done = run(site, "-c", ASK.replace("DEVICE", repr(device)), **environ)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.vllm
def test_an_engine_with_a_plugin_that_cannot_be_imported_says_so(site: Path) -> None:
    """vllm-ascend decides the platform wherever it is installed."""
    pytest.importorskip("vllm")
    said = capabilities(site, "cpu")
    assert said.startswith("refused: model.device: vLLM ")
    assert "its platform plugin cannot be imported (" in said
    assert "torch_npu" in said
    assert "VLLM_PLUGINS" in said
    assert capabilities(site, "cpu", VLLM_PLUGINS="") == "cpu"


@pytest.mark.vllm
def test_an_engine_on_an_npu_names_what_torch_npu_misses(site: Path) -> None:
    pytest.importorskip("vllm")
    said = capabilities(site, "npu")
    assert said.startswith("refused: model.device: npu: torch_npu is installed but cannot be")
    assert WHY in said
