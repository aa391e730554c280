"""The guards of the test suite themselves."""

import asyncio
import threading
from pathlib import Path

import pytest
from blockbuster import BlockingError

from streamlabel.config import settings
from tests.requirements import REQUIRE_ALL, missing


def _ours(source: str) -> bool:
    """Run ``source`` as if it stood in a module of ours; say whether it came to its end."""
    code = compile(source, str(Path(settings.__file__).with_name("imagined.py")), "exec")
    names: dict[str, bool] = {}
    exec(code, names)  # noqa: S102 the sources are below
    return names["is_done"]


BLOCKING = "import time; time.sleep(0.001); is_done = True"


async def test_a_blocking_call_of_ours_in_the_loop_fails() -> None:
    with pytest.raises(BlockingError, match=r"time\.sleep"):
        _ours(BLOCKING)


async def test_reading_a_file_in_the_loop_fails() -> None:
    with pytest.raises(BlockingError, match=r"read|open"):
        _ours(f"with open({__file__!r}) as file: file.read()")


async def test_a_blocking_call_in_a_thread_is_allowed() -> None:
    assert await asyncio.to_thread(_ours, BLOCKING)


@pytest.mark.may_block(reason="proves the way out")
async def test_a_marked_test_may_block() -> None:
    assert _ours(BLOCKING)


async def test_a_free_lock_and_an_import_are_allowed() -> None:
    lock = threading.Lock()
    logs = "import wave; import logging; logging.getLogger('x').warning('hello')"
    with lock:
        assert _ours(f"{logs}; is_done = True")


def test_without_a_loop_everything_may_block() -> None:
    assert _ours(BLOCKING)


def test_a_missing_part_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(REQUIRE_ALL, raising=False)
    with pytest.raises(pytest.skip.Exception, match="no Kafka"):
        missing("no Kafka")


def test_a_missing_part_fails_where_ci_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REQUIRE_ALL, "1")
    with pytest.raises(pytest.fail.Exception, match="no Kafka"):
        missing("no Kafka")
