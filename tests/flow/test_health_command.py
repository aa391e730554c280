"""``streamlabel health``: asks the port of the configuration, and ends with 0 or 1."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from streamlabel.__main__ import app
from streamlabel.config.settings import HttpSettings
from streamlabel.consumer.observability.health import Health
from streamlabel.consumer.observability.health_server import HealthServer
from tests.doubles import ManualClock

Configure = Callable[..., Path]


@pytest.fixture
def health() -> Health:
    return Health(live_after_s=900.0, broker_grace_s=15.0)


@pytest.fixture
async def port(health: Health) -> AsyncIterator[int]:
    """Of a service that listens on all addresses, as the default is."""
    settings = HttpSettings(port=0)
    async with HealthServer(health, CollectorRegistry(), ManualClock(), settings=settings) as up:
        yield up.port


@pytest.fixture
def configure(tmp_path: Path) -> Configure:
    def write(**http: object) -> Path:
        path = tmp_path / "streamlabel.yaml"
        lines = [f"  {name}: {str(value).lower()}\n" for name, value in http.items()]
        path.write_text("model: {backend: fake}\nhttp:\n" + "".join(lines))
        return path

    return write


async def run(*arguments: object, **environ: str) -> tuple[int, str, str]:
    command = ["health", *map(str, arguments)]
    done = await asyncio.to_thread(CliRunner().invoke, app, command, env=environ)
    return done.exit_code, done.stdout, done.stderr


async def test_the_port_of_the_file_is_asked(port: int, configure: Configure) -> None:
    assert await run("-c", configure(port=port)) == (0, "ok\n", "")


async def test_the_file_of_the_environment_and_its_port_are_read(
    port: int, configure: Configure
) -> None:
    config = configure(port=1)
    environ = {"STREAMLABEL_CONFIG": str(config), "STREAMLABEL__HTTP__PORT": str(port)}
    assert await run(**environ) == (0, "ok\n", "")


async def test_what_does_not_hold_is_1_and_said(
    port: int, configure: Configure, health: Health
) -> None:
    config = configure(port=port)
    health.work(waiting=True, now_s=0.0)  # the clock says 1000 s
    code, said, _ = await run("-c", config)
    assert code == 1
    assert said.startswith("progress: work waits")


async def test_every_probe_can_be_asked(port: int, configure: Configure, health: Health) -> None:
    config = configure(port=port)
    assert (await run("-c", config, "--probe", "startupz"))[0] == 1
    health.model_loaded()
    assert (await run("-c", config, "--probe", "startupz"))[0] == 0
    assert (await run("-c", config, "--probe", "readyz"))[:2] == (1, "group: not joined\n")


async def test_no_proxy_is_asked(port: int, configure: Configure) -> None:
    proxies = {"http_proxy": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1"}
    assert (await run("-c", configure(port=port), **proxies))[0] == 0


async def test_nobody_there_is_1(configure: Configure) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and never listens
        free = taken.getsockname()[1]
        code, said, _ = await run("-c", configure(port=free))
    assert code == 1
    assert said == f"no answer from 127.0.0.1:{free}: Connection refused\n"


async def test_a_service_that_does_not_answer_is_1_in_time(configure: Configure) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        config = configure(port=silent.getsockname()[1])
        code, said, _ = await run("-c", config, "--timeout", "0.2")
    assert code == 1
    assert "no answer from" in said


@pytest.mark.parametrize(
    ("http", "why"),
    [({"enabled": False}, "http.enabled: is false"), ({"port": 0}, "http.port: is 0")],
)
async def test_what_cannot_be_asked_is_1(
    configure: Configure, http: dict[str, object], why: str
) -> None:
    code, _, said = await run("-c", configure(**http))
    assert code == 1
    assert said.startswith(f"streamlabel: {why}")


async def test_a_configuration_that_cannot_be_read_is_1_and_not_2(tmp_path: Path) -> None:
    """Docker has a meaning of its own for 2."""
    code, _, said = await run("-c", tmp_path / "missing.yaml")
    assert code == 1
    assert "no such file" in said
