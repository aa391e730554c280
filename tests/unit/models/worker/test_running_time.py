"""Deadlines count time in which the processes ran, and nothing else."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.models.worker.running_time import Deadline, RunningTime, running_timeout

# (seconds that the next look is late, whether the other side is stopped)
LOOKS = st.lists(st.tuples(st.floats(0, 0.5), st.booleans()), max_size=200)


@given(limit_s=st.sampled_from([0.5, 8.0, 100.0]), looks=LOOKS, pauses=st.sets(st.integers(0, 199)))
def test_the_limit_is_of_running_time(
    limit_s: float, looks: list[tuple[float, bool]], pauses: set[int]
) -> None:
    timer = RunningTime(limit_s)
    ran_s = stopped_s = 0.0
    for number, (late, is_stopped) in enumerate(looks):
        elapsed_s = timer.tick_s * (1 + late) + (100_000 if number in pauses else 0)
        lateness = timer.looked(elapsed_s, is_stopped=is_stopped)
        if is_stopped:
            stopped_s += timer.tick_s
        else:
            ran_s += timer.tick_s
        if lateness == "hung":
            assert ran_s >= limit_s * 0.9
        if lateness == "stopped":
            assert stopped_s >= limit_s * 0.9
        if lateness is None and number not in pauses:
            assert max(ran_s, stopped_s) <= limit_s
        if lateness is not None:
            # after a pause there is time for the answer to be read
            assert number not in pauses or number - 1 in pauses
            return


@pytest.mark.parametrize("limit_s", [0.001, 0.02, 0.05, 0.4, 60.0, 600.0])
def test_without_pauses_it_is_the_time_of_the_clock(limit_s: float) -> None:
    timer = RunningTime(limit_s)
    looks = 1
    while timer.looked(timer.tick_s, is_stopped=False) is None:
        looks += 1
    assert looks * timer.tick_s == pytest.approx(limit_s)


@pytest.mark.may_block("the pause of the process that the test is about")
async def test_an_answer_that_came_during_a_pause_is_in_time() -> None:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()
    loop.call_later(0.1, answer.set_result, "in time")
    async with running_timeout(0.3):
        await asyncio.sleep(0.01)
        time.sleep(0.6)  # noqa: ASYNC251 as SIGSTOP does
        assert await answer == "in time"


async def test_what_takes_longer_is_a_timeout() -> None:
    with pytest.raises(TimeoutError):
        async with running_timeout(0.1):
            await asyncio.Event().wait()


async def test_who_is_stopped_for_the_whole_limit_is_told_apart() -> None:
    due: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    Deadline(0.1, due.set_result, is_stopped=lambda: True)
    assert await due == "stopped"
