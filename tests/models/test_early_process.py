"""Promises of a worker process that starts before its service has read its settings."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest

from streamlabel.config.model import EncoderSettings, FakeSettings
from streamlabel.config.worker import WorkerSettings
from streamlabel.errors import ConfigError, ModelLoadError
from streamlabel.models import registry
from streamlabel.models.core.classifier import PreparedText
from streamlabel.models.worker.early_process import Child, EarlyProcess
from streamlabel.models.worker.worker_classifier import WorkerClassifier
from testing.kafka_broker import wait_until

_QUICK = WorkerSettings(restart_backoff_s=0.01)
_FAKE = FakeSettings(backend="fake", labels=("a", "b"))


@asynccontextmanager
async def _early(backend: str) -> AsyncIterator[EarlyProcess]:
    """Start it in a thread: the service does before there is a loop."""
    early = EarlyProcess()
    await asyncio.to_thread(early.__enter__)
    await asyncio.to_thread(early.import_for, backend, None)
    try:
        yield early
    finally:
        await asyncio.to_thread(early.__exit__, None, None, None)


def _pid(early: EarlyProcess) -> int:
    child = early._child
    assert child is not None
    return child.process.pid


async def test_the_service_loads_its_model_into_the_process_that_waits() -> None:
    async with _early("fake") as early:
        pid = _pid(early)
        worker = await WorkerClassifier.start(_FAKE, _QUICK, early=early)
        try:
            assert worker.pid == pid
            [text] = await worker.prepare(["a text"])
            assert isinstance(text, PreparedText)
            assert len(await worker.classify([text])) == 1
        finally:
            await worker.close()
    assert not psutil.pid_exists(pid)


async def test_only_one_worker_takes_it_and_its_replacement_is_a_new_one() -> None:
    async with _early("fake") as early:
        pid = _pid(early)
        worker = await WorkerClassifier.start(_FAKE, _QUICK, early=early)
        try:
            assert early.take("fake") is None
            os.kill(pid, signal.SIGKILL)
            async with asyncio.timeout(30):
                while worker.pid in {pid, None}:  # noqa: ASYNC110 nothing sets an event
                    await asyncio.sleep(0.01)
            assert await worker.prepare(["a text"])
        finally:
            await worker.close()
    assert not psutil.pid_exists(pid)


async def test_a_process_that_imports_for_another_back_end_is_not_taken() -> None:
    async with _early("remote") as early:
        pid = _pid(early)
        worker = await WorkerClassifier.start(_FAKE, _QUICK, early=early)
        try:
            assert worker.pid != pid
        finally:
            await worker.close()
    assert not psutil.pid_exists(pid)


def test_a_configuration_error_leaves_no_process() -> None:
    pids: list[int] = []

    def fail() -> None:
        with EarlyProcess() as early:
            pids.append(_pid(early))
            raise ConfigError("invalid")

    with pytest.raises(ConfigError, match="invalid"):
        fail()
    [pid] = pids
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize("is_importing", [False, True])
def test_it_ends_when_its_service_is_gone(is_importing: bool) -> None:
    early = EarlyProcess()
    with early:
        if is_importing:
            early.import_for("encoder", partial(print, end=""))
        child = early.take("encoder" if is_importing else "")
    assert isinstance(child, Child)
    child.connection.close()  # as when the service is killed
    assert child.process.wait(60) == 0


async def test_its_death_before_the_load_is_a_load_error_that_says_how() -> None:
    async with _early("fake") as early:
        os.kill(_pid(early), signal.SIGKILL)
        with pytest.raises(ModelLoadError, match="was ended by SIGKILL"):
            await WorkerClassifier.start(_FAKE, _QUICK, early=early)


async def test_a_cancelled_adoption_leaves_no_process() -> None:
    async with _early("fake") as early:
        pid = _pid(early)
        starting = asyncio.ensure_future(WorkerClassifier.start(_FAKE, _QUICK, early=early))
        await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
    wait_until(lambda: not _is_running(pid), what="the process has ended")


def _is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_it_is_started_without_the_modules_of_the_service() -> None:
    """It saves time only if nothing that takes long is imported before it."""
    allowed = ("streamlabel", "streamlabel.models", "streamlabel.models.worker")
    listing = (
        "import streamlabel.models.worker.early_process, sys;"
        " print(*(name for name in sys.modules if name.startswith('streamlabel')"
        " or name in {'typer', 'pydantic', 'numpy', 'asyncio', 'structlog'}))"
    )
    found = subprocess.run(
        (sys.executable, "-c", listing), capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    assert set(found) == {
        *allowed,
        "streamlabel.models.worker.early_process",
        "streamlabel.models.worker.frames",
    }


def test_a_library_that_cannot_be_imported_early_is_the_error_of_the_load(tmp_path: Path) -> None:
    failed: Future[None] = Future()
    failed.set_exception(ImportError("libgomp.so.1: cannot open", name="torch"))
    settings = EncoderSettings(backend="encoder", path=str(tmp_path))
    with pytest.raises(ModelLoadError, match="cannot import torch, which is installed"):
        registry.load(settings, imported=failed.result)
