"""The thread that computes has chosen its device; what waits at the end is answered."""

import asyncio
import threading

import pytest

from streamlabel.errors import ModelError
from streamlabel.models.devices.device import Device
from streamlabel.models.devices.device_threads import QUEUED, DeviceThreads, OwnThreads


class Watched(Device):
    """Notes which threads chose it."""

    threads: list[int]

    def __init__(self) -> None:
        super().__init__("cpu", {})
        object.__setattr__(self, "threads", [])

    def use_here(self) -> None:
        """Note the thread."""
        self.threads.append(threading.get_ident())


async def test_the_thread_that_computes_has_chosen_its_device_first() -> None:
    device = Watched()
    threads = DeviceThreads(device, 1)
    assert device.threads == []
    computing = await threads.compute(threading.get_ident)
    assert device.threads == [computing]
    assert computing != threading.get_ident()
    assert await threads.tokenize(threading.get_ident) != computing
    await threads.close()
    with pytest.raises(ModelError, match="closed"):
        await threads.compute(threading.get_ident)


def test_one_batch_is_computed_and_the_others_queue() -> None:
    assert DeviceThreads.max_in_flight - QUEUED == 1


async def test_streams_compute_side_by_side_each_with_the_device_chosen() -> None:
    device = Watched()
    threads = DeviceThreads(device, 1, streams=2)
    both = threading.Barrier(2, timeout=10)

    def meet() -> int:
        both.wait()
        return threading.get_ident()

    met = await asyncio.gather(threads.compute(meet), threads.compute(meet))
    assert sorted(device.threads) == sorted(set(met))
    await threads.close()


async def test_what_waits_when_it_is_closed_is_answered_and_nothing_more_is_taken() -> None:
    threads = OwnThreads("own")
    is_closing = threading.Event()
    running = asyncio.ensure_future(threads.run(lambda: is_closing.wait(10)))
    waiting = asyncio.ensure_future(threads.run(lambda: "answered"))
    await asyncio.sleep(0)
    closing = asyncio.gather(threads.close(), threads.close())
    await asyncio.sleep(0)
    with pytest.raises(ModelError, match="closed"):
        await threads.run(lambda: "too late")
    is_closing.set()
    await closing
    assert (await running, await waiting) == (True, "answered")
