"""A number that many pages show: how often it is asked for."""

import asyncio

import pytest

from streamlabel.console.web.reused import Reused


class Asked:
    """Counts its calls, each of which takes some time."""

    def __init__(self, cost_s: float) -> None:
        self.cost_s = cost_s
        self.now_s = 100.0
        self.calls = 0

    async def __call__(self) -> int:
        """Return how often it was called."""
        self.calls += 1
        await asyncio.sleep(0)
        self.now_s += self.cost_s
        return self.calls


@pytest.mark.parametrize(("later_s", "calls"), [(0.0, 1), (1.99, 1), (2.0, 2)])
async def test_what_was_expensive_is_used_again_for_twenty_times_its_cost(
    later_s: float, calls: int
) -> None:
    ask = Asked(0.1)
    reused = Reused(ask, monotonic_s=lambda: ask.now_s)
    assert await reused.value() == 1
    ask.now_s += later_s
    assert await reused.value() == calls


async def test_those_who_wait_for_it_together_ask_once() -> None:
    ask = Asked(0.1)
    reused = Reused(ask, monotonic_s=lambda: ask.now_s)
    assert await asyncio.gather(*(reused.value() for _ in range(8))) == [1] * 8


async def test_a_failure_is_not_kept() -> None:
    calls = []

    async def ask() -> int:
        calls.append(1)
        if len(calls) == 1:
            raise OSError("gone")
        return 7

    reused = Reused(ask, monotonic_s=lambda: 0.0)
    with pytest.raises(OSError, match="gone"):
        await reused.value()
    assert await reused.value() == 7
