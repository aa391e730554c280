"""Many askers, one question, no stale answer."""

import asyncio

import pytest

from streamlabel.consumer.core.joint_question import JointQuestion
from tests.doubles import settle


async def test_all_who_wait_share_one_question_that_began_after_they_asked() -> None:
    asked = 0
    gate = asyncio.Event()

    async def ask() -> int:
        nonlocal asked
        asked += 1
        number = asked
        await gate.wait()
        return number

    question = JointQuestion(ask)
    first = asyncio.ensure_future(question.answer())
    await settle()
    late = [asyncio.ensure_future(question.answer()) for _ in range(50)]
    await settle()
    gate.set()
    assert await first == 1
    assert set(await asyncio.gather(*late)) == {2}  # the first question began before they asked
    assert await question.answer() == 3
    assert asked == 3


async def test_an_error_is_of_the_one_who_asked_and_the_next_asks_again() -> None:
    errors = [ConnectionError("no")]

    async def ask() -> int:
        if errors:
            raise errors.pop()
        return 7

    question = JointQuestion(ask)
    with pytest.raises(ConnectionError):
        await question.answer()
    assert await question.answer() == 7
