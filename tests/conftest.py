"""Checks for every test: the event loop is not blocked, global configuration does not leak."""

import inspect
import logging
import os
import platform
import signal
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import structlog
from blockbuster import blockbuster_ctx

# Before the first import of a module with values: they are frozen in the tests, and in the
# processes that tests start. See ``streamlabel.models.core.values``.
os.environ["STREAMLABEL_TEST_FROZEN_VALUES"] = "1"

from streamlabel.config import installed
from tests.requirements import REQUIRE_ALL

pytest_plugins = ["tests.database_fixtures", "tests.kafka_fixtures", "tests.model_fixtures"]

# Code of these packages must not block a running event loop. Blocking calls of pytest, aiokafka or
# uvicorn are ignored, unless our code has called them.
_OURS = ["streamlabel", "streamlabel.consumer", "streamlabel.models", "streamlabel.config"]

# Files whose tests take longest together, in the order in which they begin where files are
# distributed over processes: one that began last would keep a process busy that others wait for.
LONGEST = (
    "kafka/test_quotas.py",
    "kafka/test_outage.py",
    "kafka/test_other_clients.py",
    "kafka/test_cluster.py",
    "kafka/test_deploy.py",
    "kafka/test_exactly_once.py",
    "kafka/test_slow_link.py",
    "kafka/test_transactions.py",
    "kafka/test_service.py",
    "models/test_vllm.py",
    "models/test_npu.py",
    "models/test_vllm_heads.py",
    "models/test_remote_vllm.py",
    "models/test_three_ways.py",
    "models/test_small_llm.py",
    "models/test_spam_model.py",
)

_SHOWN = ("aiokafka", "pydantic", "torch", "transformers", "confluent-kafka", "vllm", "hypothesis")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker may_block; make processes that tests start interruptible."""
    config.addinivalue_line(
        "markers", "may_block(reason): this async test may block the event loop, and why."
    )
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a background job of a shell
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest files begin first; the others keep their order."""
    here = Path(__file__).parent
    rank = {here / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


def pytest_report_header() -> list[str]:
    """Report the versions and environment variables that a failure may depend on."""
    shown = ", ".join(f"{name} {_version(name)}" for name in _SHOWN)
    switches = ("KAFKA_HOME", "STREAMLABEL_TEST_BOOTSTRAP", "STREAMLABEL_DATA", REQUIRE_ALL)
    found = ", ".join(f"{name}={os.environ.get(name, '-')}" for name in switches)
    return [f"python {platform.python_version()}, {shown}", found]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "-"


@pytest.fixture(autouse=True)
def loop_is_not_blocked(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail an async test in which our code makes a blocking call in the event loop."""
    marker = request.node.get_closest_marker("may_block")
    if marker is not None and not (marker.args or marker.kwargs.get("reason")):
        pytest.fail("may_block needs a reason", pytrace=False)
    if marker is not None or not _is_async(request):
        yield
        return
    for kind in installed.GROUPS:
        installed.names(kind)  # read once per process; programs do so before they start their loop
    with blockbuster_ctx(_OURS):
        yield


def _is_async(request: pytest.FixtureRequest) -> bool:
    function = getattr(request, "function", None)
    # hypothesis wraps the coroutine function in a plain one
    inner = getattr(getattr(function, "hypothesis", None), "inner_test", function)
    return inspect.iscoroutinefunction(inner)


@pytest.fixture(autouse=True)
def logging_is_left_as_found() -> Iterator[None]:
    """Undo ``configure_logging``: handlers, level, structlog's configuration, captured warnings."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    if structlog.is_configured():
        structlog.reset_defaults()
        logging.captureWarnings(capture=False)
        # pytest has added its own handlers for this phase; remove only ours
        ours = [handler for handler in root.handlers if handler not in handlers]
        for handler in ours:
            if type(handler).__module__.startswith("streamlabel."):
                root.removeHandler(handler)
        root.setLevel(level)
