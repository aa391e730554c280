"""Language models that tests share: one with random weights, one trained, one of the real world."""

from pathlib import Path

import pytest

from tests.requirements import missing

DATA = "sms_spam"
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def tiny_llm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a two-layer Qwen2 with random weights and a ChatML template."""
    from testing.tiny_models import build_causal

    return build_causal(tmp_path_factory.mktemp("tiny_llm"))


@pytest.fixture(scope="session")
def spam_qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small Qwen2 trained for the task of ``config/examples/vllm-cpu.yaml``."""
    from testing import small_qwen, texts
    from testing.twins import FOLDER

    try:
        rows = texts.read(DATA, "train")
    except SystemExit as error:
        missing(str(error))
    folder = tmp_path_factory.mktemp("spam_qwen")
    small_qwen.train(folder, small_qwen.task_of(FOLDER / "vllm-cpu.yaml"), rows)
    return folder


@pytest.fixture(scope="session")
def small_llm() -> Path:
    """Return the folder of SmolLM2-135M-Instruct, which ``make models`` writes."""
    from streamlabel.demo.small_llm import is_fetched, place_of

    folder = ROOT / ".demo"
    if not is_fetched(folder):
        missing("SmolLM2-135M-Instruct, a real language model: run `make models`")
    return place_of(folder)
