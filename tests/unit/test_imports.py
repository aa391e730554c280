"""The service starts without the libraries of the models; only the worker loads them."""

import subprocess
import sys

import pytest

_HEAVY = ("torch", "transformers", "vllm", "tokenizers", "safetensors")


@pytest.mark.parametrize(
    "module",
    [
        "streamlabel.consumer.pipeline",
        "streamlabel.models.worker.worker_classifier",
        "streamlabel.models.worker.process_main",
        "streamlabel.models.core.fake",
        "streamlabel.config.settings",
    ],
)
def test_importing_this_imports_no_model_library(module: str) -> None:
    script = f"import sys, {module}\nprint(*sorted(set({_HEAVY}) & set(sys.modules)))"
    imported = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=50
    )
    assert imported.stdout.split() == []
