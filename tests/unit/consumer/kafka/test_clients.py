"""A client that is started or stopped leaves nothing open, wherever that is cancelled."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from streamlabel.consumer.kafka import clients as kafka_clients
from streamlabel.consumer.kafka.clients import ends_well, start_client

STEPS = 12  # more rounds of the loop than a start or a stop of the double takes


class Client:
    """Opens and closes connections as aiokafka 0.14.0 does, one step a round of the loop.

    Attributes:
        open: connections that somebody holds, or has forgotten.
    """

    def __init__(self, *, hangs: bool = False, fails: bool = False) -> None:
        self.open: set[str] = set()
        self._kept: set[str] = set()
        self._closed = False
        self._hangs = hangs
        self._fails = fails

    async def start(self) -> None:
        """Ask one broker for the others; a cancellation meanwhile forgets the connection."""
        await asyncio.sleep(0)
        self.open.add("bootstrap")
        for _ in range(3):
            await asyncio.sleep(0)
        if self._hangs:
            await asyncio.Event().wait()
        self.open.remove("bootstrap")
        if self._fails:
            raise ConnectionError("refused")
        self.open.add("broker")
        self._kept.add("broker")
        await asyncio.sleep(0)

    async def stop(self) -> None:
        """Close what is known; a cancellation leaves it open, and the next call does nothing."""
        if self._closed:
            return
        self._closed = True
        for _ in range(3):
            await asyncio.sleep(0)
        self.open -= self._kept


async def cancelled_after(rounds: int, work: Coroutine[Any, Any, None]) -> BaseException | None:
    task = asyncio.ensure_future(work)
    for _ in range(rounds):
        await asyncio.sleep(0)
    task.cancel()
    [outcome] = await asyncio.gather(task, return_exceptions=True)
    return outcome if isinstance(outcome, BaseException) else None


async def opened(client: Client) -> None:
    await start_client(client.start(), stop=client.stop)


@pytest.mark.parametrize("rounds", range(1, STEPS))
async def test_a_start_cancelled_anywhere_leaves_nothing_open(rounds: int) -> None:
    client = Client()
    outcome = await cancelled_after(rounds, opened(client))
    if outcome is None:
        assert client.open == {"broker"}, "it had started before"
        await client.stop()
    else:
        assert isinstance(outcome, asyncio.CancelledError)
    assert client.open == set()


async def test_the_rounds_reach_from_the_first_step_to_the_end() -> None:
    assert isinstance(await cancelled_after(1, opened(Client())), asyncio.CancelledError)
    assert await cancelled_after(STEPS - 1, opened(Client())) is None


@pytest.mark.parametrize("again", range(1, STEPS))
async def test_a_second_cancellation_changes_nothing(again: int) -> None:
    client = Client()
    task = asyncio.ensure_future(opened(client))
    for _ in range(3):
        await asyncio.sleep(0)
    task.cancel()
    for _ in range(again):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert client.open == set()


async def test_a_start_that_fails_raises_its_error_and_stops_the_client() -> None:
    client = Client(fails=True)
    with pytest.raises(ConnectionError, match="refused"):
        await opened(client)
    assert client._closed


async def test_a_start_without_an_answer_holds_a_cancellation_up_for_a_moment_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kafka_clients, "_SETTLE_S", 0.05)
    client = Client(hangs=True)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await opened(client)
    assert client._closed
    await asyncio.sleep(0)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert others == set(), "the attempt has ended, too"


@pytest.mark.parametrize("rounds", range(1, STEPS))
async def test_a_stop_cancelled_anywhere_runs_to_its_end(rounds: int) -> None:
    client = Client()
    await client.start()

    async def stopped() -> None:
        await ends_well(client.stop(), timeout_s=5)

    outcome = await cancelled_after(rounds, stopped())
    assert outcome is None or isinstance(outcome, asyncio.CancelledError)
    assert client.open == set()


async def test_a_stop_that_hangs_is_cancelled_in_time() -> None:
    ended = asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    assert not await ends_well(hang(), timeout_s=0.02)
    await asyncio.wait_for(ended.wait(), 5)


async def test_a_cancellation_of_a_stop_that_hangs_is_raised_in_time() -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await ends_well(hang(), timeout_s=0.05)


async def test_how_a_stop_ended_is_said() -> None:
    async def fail() -> None:
        raise ConnectionError("closed by the broker")

    async def end_as_aiokafka_may() -> None:
        raise asyncio.CancelledError  # of a task of its own

    async def end() -> None:
        await asyncio.sleep(0)

    assert await ends_well(end(), timeout_s=5)
    assert not await ends_well(fail(), timeout_s=5)
    assert not await ends_well(end_as_aiokafka_may(), timeout_s=5)
