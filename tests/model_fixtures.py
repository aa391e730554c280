"""Language models that tests share: one with random weights, one trained, one of the real world."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from tests.requirements import missing

DATA = "sms_spam"
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def tiny_llm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a two-layer Qwen2 with random weights and a ChatML template."""
    from testing.tiny_models import build_causal

    return build_causal(tmp_path_factory.mktemp("tiny_llm"))


def made_once(
    tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]
) -> Path:
    """Return a folder that one process of this run of the tests fills, and the others wait for.

    Args:
        tmp_path_factory: of pytest.
        name: of the folder.
        make: fills the empty folder that it is given; if it fails, the next process tries.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # of the run; each process has a folder in it
    folder, made = root / name, root / f"{name}.made"
    with FileLock(root / f"{name}.lock"):
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


@pytest.fixture(scope="session")
def spam_qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small Qwen2 trained for the task of ``config/examples/vllm-cpu.yaml``."""
    from testing import small_qwen, texts
    from testing.twins import FOLDER

    try:
        rows = texts.read(DATA, "train")
    except SystemExit as error:
        missing(str(error))
    task = small_qwen.task_of(FOLDER / "vllm-cpu.yaml")
    return made_once(
        tmp_path_factory, "spam_qwen", lambda folder: small_qwen.train(folder, task, rows)
    )


@pytest.fixture(scope="session")
def small_llm() -> Path:
    """Return the folder of SmolLM2-135M-Instruct, which ``make models`` writes."""
    from streamlabel.demo.small_llm import is_fetched, place_of

    folder = ROOT / ".demo"
    if not is_fetched(folder):
        missing("SmolLM2-135M-Instruct, a real language model: run `make models`")
    return place_of(folder)
