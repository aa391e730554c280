"""The canary finds engines that hang, fail or drift, and lets good ones live."""

import asyncio
from collections.abc import Sequence

import pytest

from streamlabel.errors import InferenceError
from streamlabel.models.vllm import canary


class _Engine:
    """Answers from a script; the last entry again and again."""

    def __init__(self, *answers: Sequence[float] | Exception | None) -> None:
        self.answers = list(answers)
        self.beats = 0

    async def ask(self) -> Sequence[float]:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        assert answer is not None
        return answer

    def beat(self) -> None:
        self.beats += 1


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (None, "did not answer a fixed text within 0.05 s"),
        ((0.8, 0.2), "a probability changed by 0.1"),
        ((float("nan"), 0.3), "changed by nan"),
        (InferenceError("broken"), "failed on a fixed text: broken"),
    ],
)
async def test_it_returns_when_something_is_wrong(
    bad: Sequence[float] | Exception | None, said: str
) -> None:
    good = (0.7, 0.3)
    engine = _Engine(good, (0.7005, 0.2995), good, bad)
    why = await canary.watch(
        engine.ask,
        good,
        interval_s=0.001,
        timeout_s=0.05,
        tolerance=1e-3,
        on_beat=engine.beat,
    )
    assert said in why
    assert engine.beats == 3
