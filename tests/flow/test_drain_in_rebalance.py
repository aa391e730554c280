"""A drain while the group rebalances: the client's poll then waits without limit."""

import asyncio
from collections.abc import Sequence

import pytest

from streamlabel.consumer.core.records import SourceRecord
from tests.flow.rig import rig


async def test_a_drain_does_not_wait_for_a_poll_that_waits_for_a_rebalance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def waits_for_the_group(**_: object) -> Sequence[SourceRecord]:
        await asyncio.Event().wait()
        return []

    async with rig(settings={"delivery": {"drain_timeout_s": 30}}) as r:
        r.sink.hold()
        await r.send("0.9 a")
        monkeypatch.setattr(r.source, "poll", waits_for_the_group)
        await r.clock.advance(1)
        r.pipeline.drain()
        await r.clock.advance(2)
        assert not r.task.done(), "what is in flight is still waited for"
        r.sink.release()
        await r.clock.advance(2)
        assert r.task.done()
        await r.task
        assert r.committed() == 1
