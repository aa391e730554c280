"""A shadow model: it gets its share, drops what does not fit, and never touches the primary."""

import asyncio
from typing import Any

import orjson
import pytest

from streamlabel.config.settings import Settings
from streamlabel.consumer.output.schemas import LabelMessage
from streamlabel.consumer.shadowing import run_shadow, shadow_settings
from streamlabel.consumer.testing.memory_broker import MemoryBroker
from streamlabel.consumer.testing.memory_ports import MemorySink
from streamlabel.errors import BrokerError, ConfigError
from tests.doubles import settle
from tests.flow.rig import Rig, rig

FAKE = {"backend": "fake"}


def with_shadow(**shadow: Any) -> Settings:  # noqa: ANN401 of the section
    return Settings.model_validate(
        {"model": FAKE, "repeats": {"max_items": 0}, "shadow": {"model": FAKE, **shadow}}
    )


class Beside:
    """A shadow with a real worker process beside a rig, on a broker of its own."""

    def __init__(self, r: Rig, settings: Settings) -> None:
        self.r = r
        self.broker = MemoryBroker(partitions=1)
        self.sink = MemorySink(self.broker)
        self.task = asyncio.create_task(
            run_shadow(settings, r.pipeline, None, r.clock, r.metrics, sink=self.sink)
        )

    async def until(self, claim: Any, what: str) -> None:  # noqa: ANN401 a function
        """Let real time pass, because the process is real, until something holds."""
        async with asyncio.timeout(30):
            while not claim():
                await asyncio.sleep(0.02)
                await self.r.clock.advance(0.1)
        assert claim(), what

    async def started(self) -> "Beside":
        """Wait until it gets texts."""
        await self.until(lambda: self.r.pipeline.plans.shadow is not None, "it is loaded")
        return self

    def messages(self) -> list[dict[str, Any]]:
        """What it has written."""
        return [orjson.loads(each.value or b"") for each in self.broker.written("shadow")]

    async def end(self) -> None:
        """Cancel it, as the service does at its end."""
        self.task.cancel()
        await asyncio.wait([self.task])


async def test_its_results_are_on_a_topic_of_its_own_without_texts() -> None:
    async with rig() as r:
        await r.send("0.9 before it is loaded")
        shadow = await Beside(r, with_shadow()).started()
        await r.send("0.9 a", "0.6 b", "0.9 poison")
        await shadow.until(lambda: len(shadow.messages()) == 3, "all are written")
        await shadow.end()
        await r.send("0.9 after")
        await r.clock.advance(30)
        await r.drain()
    assert r.sources("labels") == [0, 1, 4]
    assert r.sources("review") == [2]
    assert r.sources("dead-letters") == [3], "the primary's failure is not the shadow's"
    assert [each["source"]["offset"] for each in shadow.messages()] == [1, 2, 3]
    for each in shadow.messages():
        LabelMessage.model_validate_json(orjson.dumps(each))
        assert "text" not in each
        assert each["model"]["name"] == "fake"
    assert r.metrics.total("shadow", outcome="classified") == 3


async def test_a_share_is_drawn_by_the_key() -> None:
    async with rig() as r:
        shadow = await Beside(r, with_shadow(share=0.3)).started()
        for n in range(200):
            value = orjson.dumps({"text": f"0.9 t{n}"})
            r.broker.append("texts", value, partition=0, key=b"key%d" % (n % 20))
        await settle()
        await r.clock.advance(1)

        def is_complete() -> bool:
            classified = r.metrics.total("shadow", outcome="classified")
            return classified > 0 and classified % 10 == 0

        await shadow.until(is_complete, "all are written")
        await shadow.end()
        await r.drain()
    keys = {each["source"]["offset"] % 20 for each in shadow.messages()}
    assert 2 <= len(keys) <= 12
    assert len(shadow.messages()) == 10 * len(keys), "a key is in the share or not"


async def test_a_slow_shadow_drops_texts_and_delays_nothing() -> None:
    settings = with_shadow(model={**FAKE, "batch_s": 3600}, max_waiting_items=5)
    async with rig() as r:
        shadow = await Beside(r, settings).started()
        await r.send(*(f"0.9 t{n}" for n in range(50)))
        await r.clock.advance(1)
        assert r.sources("labels") == list(range(50))
        assert r.committed() == 50
        assert r.metrics.total("shadow", outcome="dropped") == 45
        await r.drain()
        await shadow.end()


async def test_results_that_cannot_be_written_are_dropped_and_counted() -> None:
    async with rig() as r:
        shadow = Beside(r, with_shadow())

        async def refuse(*_: Any) -> None:  # noqa: ANN401 of the sink
            raise BrokerError("no answer", True)

        shadow.sink.deliver = refuse  # type: ignore[method-assign,assignment]  # a broker that is down
        await shadow.started()
        await r.send("0.9 a")
        await shadow.until(
            lambda: r.metrics.total("shadow", outcome="dropped") == 1, "it is counted"
        )
        await r.send("0.9 b")
        await r.drain()
        await shadow.end()
    assert r.sources("labels") == [0, 1]


@pytest.mark.parametrize(
    "settings",
    [
        with_shadow(model={"backend": "encoder", "path": "/missing"}),
        with_shadow(routing={"thresholds": {"zzz": 0.5}}),
    ],
)
async def test_a_shadow_that_does_not_start_is_no_fault_of_the_service(settings: Settings) -> None:
    async with rig() as r:
        shadow = Beside(r, settings)
        await shadow.until(shadow.task.done, "it has given up")
        assert shadow.task.exception() is None
        await r.send("0.9 a")
        await r.drain()
    assert r.sources("labels") == [0]


async def test_a_shadow_whose_process_dies_too_often_ends_alone() -> None:
    crashing = {**FAKE, "crash_on": "boom"}
    settings = with_shadow(model=crashing)
    settings = settings.model_copy(
        update={"worker": settings.worker.model_copy(update={"max_restarts": 0})}
    )
    async with rig() as r:
        shadow = await Beside(r, settings).started()
        await r.send("0.9 boom", "0.9 fine")
        await shadow.until(
            lambda: shadow.task.done() or r.metrics.total("shadow", outcome="failed") == 1,
            "it has failed",
        )
        await r.send("0.9 after")
        await r.clock.advance(1)
        assert r.sources("labels") == [0, 1, 2]
        await r.drain()
        await shadow.end()


def test_its_topic_is_no_other_and_belongs_to_the_service() -> None:
    assert with_shadow().output_topics[-1] == "shadow"
    with pytest.raises(ValueError, match=r"shadow\.topic: 'labels' is also output\.labels_topic"):
        with_shadow(topic="labels")
    with pytest.raises(ConfigError, match="the configuration has none"):
        shadow_settings(Settings.model_validate({"model": FAKE}))
