"""The health port over real HTTP: statuses, bodies, metrics, start and stop."""

import io
import signal
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
from prometheus_client import CollectorRegistry

from streamlabel.config.settings import HttpSettings, LoggingSettings
from streamlabel.consumer.observability.health import Health
from streamlabel.consumer.observability.health_server import HealthServer
from streamlabel.consumer.observability.logs import configure_logging
from streamlabel.consumer.observability.telemetry import PrometheusMetrics
from streamlabel.errors import ConfigError
from tests.doubles import ManualClock

LOOPBACK = HttpSettings(host="127.0.0.1", port=0)


@pytest.fixture
def health() -> Health:
    return Health(live_after_s=900.0, broker_grace_s=15.0)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
async def client(
    health: Health, registry: CollectorRegistry, clock: ManualClock
) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        HealthServer(health, registry, clock, settings=LOOPBACK) as server,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as http,
    ):
        yield http


async def test_the_probes_follow_the_state(client: httpx.AsyncClient, health: Health) -> None:
    assert (await client.get("/startupz")).status_code == 503
    health.model_loaded()
    assert (await client.get("/startupz")).status_code == 200
    assert (await client.get("/readyz")).status_code == 503
    health.assigned(4)
    assert (await client.get("/readyz")).text == "ok\n"
    health.drain_started()
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "drain: draining\n")


async def test_livez_reads_the_clock(
    client: httpx.AsyncClient, health: Health, clock: ManualClock
) -> None:
    health.work(waiting=True, now_s=clock.now_s())
    assert (await client.get("/livez")).status_code == 200
    await clock.advance(900.0)
    assert (await client.get("/livez")).status_code == 503


async def test_probes_leave_no_line_in_the_log(health: Health, clock: ManualClock) -> None:
    stream = io.StringIO()
    configure_logging(LoggingSettings(format="json", level="DEBUG"), environ={}, stream=stream)
    async with (
        HealthServer(health, CollectorRegistry(), clock, settings=LOOPBACK) as server,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as http,
    ):
        for path in ("/startupz", "/readyz?verbose", "/livez", "/metrics") * 3:
            await http.get(path)
    assert "HTTP/1" not in stream.getvalue()
    assert "http_listening" in stream.getvalue()


async def test_verbose_is_json_with_every_check(client: httpx.AsyncClient, health: Health) -> None:
    health.model_loaded()
    answer = await client.get("/readyz?verbose")
    assert answer.status_code == 503
    assert answer.json()["ok"] is False
    assert answer.json()["checks"]["model"] == {"ok": True, "detail": "loaded"}
    assert answer.json()["checks"]["group"] == {"ok": False, "detail": "not joined"}


async def test_probes_are_not_cached_and_answer_head(client: httpx.AsyncClient) -> None:
    assert (await client.head("/livez")).status_code == 200
    assert (await client.get("/livez")).headers["cache-control"] == "no-store"


async def test_metrics_are_served_as_text_and_as_openmetrics(
    client: httpx.AsyncClient, registry: CollectorRegistry
) -> None:
    PrometheusMetrics(registry).increment("batches", 3)
    plain = await client.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=")
    assert "streamlabel_batches_total 3.0" in plain.text
    accept = {"accept": "application/openmetrics-text; version=1.0.0"}
    opened = await client.get("/metrics", headers=accept)
    assert opened.headers["content-type"].startswith("application/openmetrics-text")
    assert opened.text.endswith("# EOF\n")


async def test_unknown_paths_and_methods_are_refused(client: httpx.AsyncClient) -> None:
    assert (await client.get("/")).status_code == 404
    assert (await client.post("/livez")).status_code == 405


async def test_a_port_in_use_is_refused_by_the_name_of_its_setting(
    health: Health, registry: CollectorRegistry, clock: ManualClock
) -> None:
    async with HealthServer(health, registry, clock, settings=LOOPBACK) as first:
        taken = HttpSettings(host="127.0.0.1", port=first.port)
        second = HealthServer(health, registry, clock, settings=taken)
        with pytest.raises(ConfigError, match=rf"^http\.port: .*:{first.port} .*in use"):
            await second.start()
        await second.stop()


async def test_a_foreign_host_is_refused_by_the_name_of_its_setting(
    health: Health, registry: CollectorRegistry, clock: ManualClock
) -> None:
    settings = HttpSettings(host="no such host", port=0)
    with pytest.raises(ConfigError, match=r"^http\.host: 'no such host' has no address"):
        await HealthServer(health, registry, clock, settings=settings).start()


async def test_signal_handlers_are_left_alone(client: httpx.AsyncClient) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    await client.get("/livez")
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert before[0] == signal.SIG_DFL


async def test_stop_frees_the_port_with_a_client_still_connected(
    health: Health, registry: CollectorRegistry, clock: ManualClock
) -> None:
    server = HealthServer(health, registry, clock, settings=LOOPBACK)
    await server.start()
    port = server.port
    async with httpx.AsyncClient() as http:
        await http.get(f"http://127.0.0.1:{port}/livez")
        await server.stop()
        await server.stop()
        with pytest.raises(httpx.ConnectError):
            await http.get(f"http://127.0.0.1:{port}/livez")
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))
