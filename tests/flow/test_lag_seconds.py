"""The gauge of the lag in seconds follows what is in flight, and what nobody reads yet."""

import asyncio

from prometheus_client import CollectorRegistry

from streamlabel.consumer.observability.health import Health
from streamlabel.consumer.observability.telemetry import PrometheusMetrics
from streamlabel.consumer.state_gauges import observe
from tests.flow.rig import rig


async def test_the_lag_in_seconds_grows_while_the_model_hangs_and_ends_with_it() -> None:
    registry = CollectorRegistry()
    async with rig() as found:
        watching = asyncio.create_task(
            observe(
                found.pipeline,
                found.source,
                health=Health(live_after_s=900, broker_grace_s=15),
                metrics=PrometheusMetrics(registry),
                clock=found.clock,
            )
        )

        def lag_s() -> float | None:
            return registry.get_sample_value(
                "streamlabel_consumer_lag_seconds", {"topic": "texts", "partition": "0"}
            )

        await found.clock.advance(1)
        assert lag_s() == 0
        found.classifier.open.clear()
        found.broker.append(
            "texts", b'{"text": "0.9 a text"}', timestamp_ms=found.clock.epoch_ms() - 5000
        )
        await found.clock.advance(60)
        assert lag_s() == 65
        found.classifier.open.set()
        await found.clock.advance(2)
        assert lag_s() == 0
        watching.cancel()
