"""Audits that nobody has decided, as metrics."""

import asyncio
import socket
import urllib.request
from datetime import timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from streamlabel.console.metrics import ConsoleMetrics
from streamlabel.console.store.items import AuditCount
from streamlabel.consumer.observability.metrics_server import served
from streamlabel.errors import ConfigError
from testing.console.memory_store import BEGIN, MemoryStore, an_item
from tests.doubles import ManualClock

BEGIN_MS = int(BEGIN.timestamp() * 1000)


def values(metrics: ConsoleMetrics) -> dict[tuple[str, ...], float]:
    return {
        (sample.name.removeprefix("streamlabel_audits_"), *sample.labels.values()): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
    }


def test_each_task_has_its_open_overdue_and_erased_audits() -> None:
    metrics = ConsoleMetrics()
    tone = AuditCount(task="tone", open=5, overdue=2, erased=1, oldest_at=BEGIN - timedelta(days=2))
    done = AuditCount(task=None, open=0, overdue=0, erased=0, oldest_at=None)
    metrics.show([done, tone], now=BEGIN)
    assert values(metrics) == {
        ("open", "in_time", "tone"): 3,
        ("open", "overdue", "tone"): 2,
        ("oldest_seconds", "tone"): 172_800,
        ("erased", "tone"): 1,
        ("open", "in_time", ""): 0,
        ("open", "overdue", ""): 0,
        ("oldest_seconds", ""): 0,
        ("erased", ""): 0,
    }
    metrics.show([done], now=BEGIN)
    assert {labels[-1] for labels in values(metrics)} == {""}


@pytest.mark.parametrize("seconds", [-1, 0, 1])
def test_no_audit_is_younger_than_nothing(seconds: int) -> None:
    count = AuditCount(task=None, open=1, overdue=0, erased=0, oldest_at=BEGIN)
    assert count.oldest_s(now=BEGIN + timedelta(seconds=seconds)) == max(0, seconds)


async def test_the_database_is_followed_and_nothing_is_shown_while_it_cannot_be_read() -> None:
    store = MemoryStore([an_item(1, purpose="audit", reasons=("audit",))])
    clock = ManualClock(epoch_ms=BEGIN_MS)
    metrics = ConsoleMetrics()
    following = asyncio.create_task(metrics.follow(store, clock=clock))
    try:
        await clock.advance(24 * 3600 - 60)
        assert values(metrics)["open", "overdue", ""] == 0
        await clock.advance(60)
        assert values(metrics)["open", "overdue", ""] == 1
        assert values(metrics)["oldest_seconds", ""] == pytest.approx(24 * 3600, abs=15)
        store.broken = "gone"
        await clock.advance(15)
        assert values(metrics) == {}
        store.broken = None
        await clock.advance(15)
        assert values(metrics)["open", "overdue", ""] == 1
    finally:
        following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following


async def test_they_are_served_until_the_end() -> None:
    metrics = ConsoleMetrics()
    metrics.show([AuditCount(task="tone", open=1, overdue=1, erased=0, oldest_at=BEGIN)], now=BEGIN)
    async with served(metrics.registry, host="127.0.0.1", port=0, advice="port: another") as port:
        address = f"http://127.0.0.1:{port}/metrics"
        text = await asyncio.to_thread(lambda: urllib.request.urlopen(address).read().decode())
    families = {each.name: each.samples for each in text_string_to_metric_families(text)}
    assert [each.value for each in families["streamlabel_audits_open"]] == [0, 1]
    with pytest.raises(OSError, match="refused"):
        await asyncio.to_thread(urllib.request.urlopen, address)


async def test_a_port_in_use_is_named_with_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = served(
            ConsoleMetrics().registry,
            host="127.0.0.1",
            port=port,
            advice="console.metrics_port: set another port",
        )
        with pytest.raises(ConfigError, match=r"^console\.metrics_port: cannot listen .* another"):
            await server.__aenter__()


async def test_without_a_port_nothing_is_served() -> None:
    server = served(ConsoleMetrics().registry, host="127.0.0.1", port=None, advice="port: set it")
    async with server as port:
        assert port is None
