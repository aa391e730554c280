"""The live page: what it shows is what the service does, and nothing of a text is in it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from streamlabel.config.settings import HttpSettings, Settings
from streamlabel.consumer.observability import live_page
from streamlabel.consumer.observability.health import Health
from streamlabel.consumer.observability.health_server import HealthServer
from streamlabel.consumer.observability.live_state import LiveState
from streamlabel.consumer.observability.telemetry import PrometheusMetrics
from streamlabel.models.core.system_clock import SystemClock
from tests.flow.rig import Rig, rig


def settings(**http: object) -> Settings:
    return Settings.model_validate(
        {
            "kafka": {"group_id": "moderation"},
            "input": {"topic": "texts"},
            "model": {"backend": "fake"},
            "http": {"host": "127.0.0.1", "port": 0, **http},
        }
    )


@asynccontextmanager
async def showing(found: Rig) -> AsyncIterator[tuple[LiveState, PrometheusMetrics]]:
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry)
    state = LiveState(registry, Health(live_after_s=900, broker_grace_s=15), settings())
    state.show_deployments(found.pipeline.deployments)
    yield state, metrics


async def test_it_shows_rates_errors_lag_and_thresholds() -> None:
    async with rig() as found, showing(found) as (state, metrics):
        state.sample(0.0)
        metrics.increment("records_consumed", 50, topic="texts")
        metrics.increment("results", 30, route="labels", reason="")
        metrics.increment("results", 15, route="review", reason="low_confidence")
        metrics.increment("results", 5, route="dead_letter", reason="schema")
        metrics.set("consumer_lag_records", 7, topic="texts", partition="3")
        metrics.set("consumer_lag_seconds", 1.5, topic="texts", partition="3")
        metrics.set("drift_effect", 0.25, feature="label")
        state.sample(10.0)
        shown = state.document(12.0)
        [deployment] = shown["deployments"]
        labels, thresholds = (
            found.deployment.policy.labels.names,
            found.deployment.policy.thresholds,
        )
    assert shown["rates"] == {"read": 5.0, "labels": 3.0, "review": 1.5, "dead_letter": 0.5}
    assert shown["errors"] == [{"reason": "schema", "records": 5.0, "ago_s": 2.0}]
    assert shown["reviews"] == [{"reason": "low_confidence", "records": 15.0}]
    assert shown["lag"] == [{"partition": "texts-3", "records": 7.0, "seconds": 1.5}]
    assert shown["drift"] == [{"feature": "label", "effect": 0.25}]
    assert deployment["thresholds"] == dict(zip(labels, thresholds, strict=True))
    assert shown["topics"]["input"] == ["texts"]


async def test_an_error_is_as_old_as_its_last_occurrence() -> None:
    async with rig() as found, showing(found) as (state, metrics):
        for at_s in (0.0, 1.0, 2.0):
            if at_s < 2:
                metrics.increment("results", route="dead_letter", reason="not_json")
            metrics.increment("results", route="dead_letter", reason="schema")
            state.sample(at_s)
        errors = state.document(5.0)["errors"]
    assert [(each["reason"], each["ago_s"]) for each in errors] == [
        ("schema", 3.0),
        ("not_json", 4.0),
    ]


@asynccontextmanager
async def serving(**http: object) -> AsyncIterator[HealthServer]:
    registry, clock, chosen = CollectorRegistry(), SystemClock(), settings(**http)
    PrometheusMetrics(registry)
    health = Health.of(chosen.http)
    page = live_page.open_page(registry, health, chosen, clock)
    async with HealthServer(health, registry, clock, settings=chosen.http, page=page) as server:
        yield server


def address(server: HealthServer) -> str:
    return f"http://127.0.0.1:{server.port}"


@asynccontextmanager
async def served(**http: object) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serving(**http) as server,
        httpx.AsyncClient(base_url=address(server)) as client,
    ):
        yield client


async def event(client: httpx.AsyncClient) -> dict[str, Any]:
    async with client.stream("GET", "/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                found = json.loads(line.removeprefix("data: "))
                assert isinstance(found, dict)
                return found
    raise AssertionError("no event")


async def test_it_is_served_with_a_policy_that_allows_nothing_from_elsewhere() -> None:
    async with served() as client:
        for path in ("/", "/live.js", "/live.css"):
            answer = await client.get(path)
            assert answer.status_code == 200
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "//" not in answer.text.replace("// ", "").replace("<!doctype", "")
            assert (await client.post(path)).status_code == 405
        assert (await event(client))["group"] == "moderation"


async def test_it_is_off_by_setting() -> None:
    async with served(page=False) as client:
        assert (await client.get("/")).status_code == 404
        assert (await client.get("/events")).status_code == 404
        assert (await client.get("/livez")).status_code == 200


async def test_pages_beyond_the_limit_are_refused_and_a_stop_ends_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live_page, "_MOST_OPEN", 1)
    async with (
        serving() as server,
        httpx.AsyncClient(base_url=address(server)) as client,
        client.stream("GET", "/events") as answer,
    ):
        lines = answer.aiter_lines()
        assert (await anext(lines)).startswith("data: ")
        assert (await client.get("/events")).status_code == 503
        async with asyncio.timeout(20):
            await server.stop()
            rest = [line async for line in lines]
    assert all(not line or line.startswith("data: ") for line in rest)


def test_the_settings_of_http_say_what_the_page_is() -> None:
    assert HttpSettings().page
    assert "Read-only" in str(HttpSettings.model_fields["page"].description)


@pytest.mark.parametrize("name", ["index.html", "live.js"])
def test_the_script_sets_text_and_never_markup(name: str) -> None:
    from importlib.resources import files

    text = (files("streamlabel.consumer.observability") / "page" / name).read_text()
    for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "http:"):
        assert word not in text
