"""The gate of the device: one alone or many at a time, nobody starves, cancelled ones leave."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from streamlabel.consumer.batching.device_gate import DeviceGate
from tests.doubles import settle


async def test_who_comes_first_goes_first() -> None:
    gate, order = DeviceGate(), []
    held = asyncio.Event()

    async def enter(name: str, *, alone: bool) -> None:
        async with gate.alone() if alone else gate.shared():
            order.append(name)
            await held.wait()

    tasks = []
    for name in ("shared 1", "shared 2", "alone 1", "shared 3", "alone 2", "shared 4"):
        tasks.append(asyncio.create_task(enter(name, alone=name.startswith("alone"))))
        await settle()
    assert order == ["shared 1", "shared 2"]
    held.set()
    await asyncio.gather(*tasks)
    assert order == ["shared 1", "shared 2", "alone 1", "shared 3", "alone 2", "shared 4"]


@given(
    kinds=st.lists(st.booleans(), min_size=1, max_size=12),
    cancelled=st.sets(st.integers(0, 11)),
    rounds=st.integers(0, 6),
)
def test_alone_means_alone_and_everybody_gets_in(
    kinds: list[bool], cancelled: set[int], rounds: int
) -> None:
    asyncio.run(_crowd(kinds, cancelled, rounds))


async def _crowd(kinds: list[bool], cancelled: set[int], rounds: int) -> None:
    gate = DeviceGate()
    inside: list[bool] = []
    done: list[int] = []

    async def enter(number: int, *, alone: bool) -> None:
        async with gate.alone() if alone else gate.shared():
            inside.append(alone)
            assert inside.count(True) == 0 or len(inside) == 1
            try:
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            finally:
                inside.remove(alone)
            done.append(number)

    tasks = [asyncio.create_task(enter(i, alone=alone)) for i, alone in enumerate(kinds)]
    for _ in range(rounds):
        await asyncio.sleep(0)
    leaving = cancelled & set(range(len(kinds))) - set(done)
    for number in leaving:
        tasks[number].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert set(range(len(kinds))) - leaving <= set(done)
    async with asyncio.timeout(1), gate.alone():
        assert inside == []
