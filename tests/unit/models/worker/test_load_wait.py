"""Whoever waits for a model is told what for."""

import asyncio

import pytest
from structlog.testing import capture_logs

from streamlabel.config.engines import VllmSettings
from streamlabel.errors import ModelLoadError
from streamlabel.models.worker.load_wait import log_wait, told, what_loads

MODEL = VllmSettings.model_validate(
    {"path": "/models/guard", "task": {"labels": [{"name": "safe"}, {"name": "unsafe"}]}}
)


async def test_a_wait_is_reported_until_it_ends() -> None:
    heard: list[float] = []
    enough = asyncio.Event()

    def tell(waited_s: float) -> None:
        heard.append(waited_s)
        if len(heard) == 3:
            enough.set()

    async def load() -> str:
        await enough.wait()
        return "loaded"

    async with asyncio.timeout(10):
        assert await told(load(), tell, first_s=0.01, period_s=0.01) == "loaded"
    await asyncio.sleep(0.03)  # longer than a period: nothing may come any more
    assert len(heard) == 3
    assert heard == sorted(heard)


async def test_a_failure_ends_the_reports() -> None:
    heard: list[float] = []

    async def load() -> None:
        raise ModelLoadError("no such file")

    with pytest.raises(ModelLoadError, match="no such file"):
        await told(load(), heard.append, first_s=0.01)
    await asyncio.sleep(0.03)  # longer than until the first report
    assert heard == []


def test_the_report_says_what_is_loaded() -> None:
    with capture_logs() as lines:
        log_wait(MODEL)(21.4)
    assert [(line["event"], line["what"], line["waited_s"]) for line in lines] == [
        ("model_loading", "vLLM's engine /models/guard", 21)
    ]
    assert what_loads(MODEL) == "vLLM's engine /models/guard"
