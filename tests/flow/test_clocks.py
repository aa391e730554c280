"""Records whose time is ahead of our clock are counted, because their latency means nothing."""

import pytest

from tests.flow.rig import rig


@pytest.mark.parametrize(("ahead_ms", "counted"), [(4_000, 0), (5_000, 0), (6_000, 1)])
async def test_a_record_of_the_future_is_counted_beyond_the_usual_difference_of_clocks(
    ahead_ms: int, counted: int
) -> None:
    async with rig() as found:
        stamp_ms = found.clock.epoch_ms() + ahead_ms
        found.broker.append("texts", b'{"text": "0.9 a text"}', timestamp_ms=stamp_ms)
        await found.clock.advance(0.5)
        assert found.sources("labels") == [0]
        assert found.metrics.total("future_records") == counted
        assert found.metrics.observations["end_to_end_seconds"] == [0]
