"""One tiny language model a session; it is read-only."""

from pathlib import Path

import pytest

from tests.tiny_models import build_causal


@pytest.fixture(scope="session")
def tiny_llm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a two-layer Qwen2 with a ChatML template."""
    return build_causal(tmp_path_factory.mktemp("tiny_llm"))
