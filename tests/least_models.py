"""The required settings of each back end, for tests over all settings."""

from typing import Any

__all__ = ["MODELS", "TASK"]

TASK = {"labels": [{"name": "spam"}, {"name": "ham"}]}
MODELS: dict[str, dict[str, Any]] = {
    "encoder": {"path": "/model"},
    "generative": {"path": "/model", "task": TASK},
    "prompted": {"path": "/model", "task": TASK},
    "vllm": {"path": "/model", "task": TASK},
    "remote": {"base_url": "http://localhost/v1", "model": "m", "task": TASK},
    "fake": {},
}
