"""Getting a batch through a model that raises, runs out of memory, dies or hangs."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.consumer.inference import Inference
from streamlabel.errors import (
    DeviceMemoryError,
    InferenceError,
    RecordError,
    WorkerError,
    WorkerGaveUpError,
)
from tests.doubles import RecordingMetrics


@dataclass
class Model:
    """Doubles a number; some numbers are poison."""

    raises_on: frozenset[int] = frozenset()
    crashes_on: frozenset[int] = frozenset()
    fits: int = 10_000
    transient: list[Exception] = field(default_factory=list)
    calls: list[list[int]] = field(default_factory=list)
    running: int = 0
    crash_while_shared: bool = False

    async def __call__(self, items: Sequence[int]) -> list[int | InferenceError]:
        """Answer, or fail as told."""
        self.calls.append(list(items))
        self.running += 1
        try:
            await asyncio.sleep(0)
            if self.transient:
                raise self.transient.pop(0)
            if self.crashes_on.intersection(items):
                self.crash_while_shared |= self.running > 1 and len(self.calls) > 2
                raise WorkerError("the worker died")
            if len(items) > self.fits:
                raise DeviceMemoryError("out of memory")
            if self.raises_on.intersection(items):
                raise InferenceError("the model raised")
            return [2 * item for item in items]
        finally:
            self.running -= 1


def inference(on_memory_error: list[int] | None = None) -> Inference:
    heard = on_memory_error if on_memory_error is not None else []
    return Inference(on_memory_error=lambda: heard.append(1), metrics=RecordingMetrics())


def reasons(results: Sequence[int | RecordError]) -> list[int | str]:
    return [r.reason if isinstance(r, RecordError) else r for r in results]


async def test_a_transient_error_is_tried_once_more_before_splitting() -> None:
    model = Model(transient=[InferenceError("once")])
    assert await inference().run(model, [1, 2, 3]) == [2, 4, 6]
    assert model.calls == [[1, 2, 3], [1, 2, 3]]


async def test_one_bad_text_is_found_and_its_neighbours_are_classified() -> None:
    model = Model(raises_on=frozenset({5}))
    results = await inference().run(model, list(range(8)))
    assert reasons(results) == [0, 2, 4, 6, 8, "inference_error", 12, 14]
    # Whole, whole again, then two halves per level.
    assert len(model.calls) == 2 + 2 * 3


async def test_errors_of_single_texts_become_record_errors() -> None:
    async def call(items: Sequence[int]) -> list[int | InferenceError]:
        return [InferenceError("no") if item == 2 else item for item in items]

    results = await inference().run(call, [1, 2, 3])
    assert reasons(results) == [1, "inference_error", 3]


async def test_out_of_memory_splits_at_once_and_lowers_the_budget() -> None:
    model = Model(fits=2)
    lowered: list[int] = []
    assert await inference(lowered).run(model, [1, 2, 3, 4]) == [2, 4, 6, 8]
    assert model.calls == [[1, 2, 3, 4], [1, 2], [3, 4]]
    assert len(lowered) == 1


async def test_a_text_that_never_fits_is_a_record_error() -> None:
    model = Model(fits=0)
    results = await inference().run(model, [1])
    assert reasons(results) == ["inference_error"]


async def test_a_crash_is_retried_and_nothing_is_lost() -> None:
    model = Model(transient=[WorkerError("killed")])
    assert await inference().run(model, [1, 2]) == [2, 4]


async def test_the_text_that_kills_the_worker_is_found_with_few_crashes() -> None:
    model = Model(crashes_on=frozenset({77}))
    items = list(range(512))
    results = await inference().run(model, items)
    assert results[77].reason == "crash_suspect"  # type: ignore[union-attr]  # checked by value
    assert [r for i, r in enumerate(results) if i != 77] == [2 * i for i in items if i != 77]
    assert sum(77 in call for call in model.calls) <= 4


async def test_an_innocent_batch_beside_a_crash_is_not_blamed() -> None:
    model = Model(crashes_on=frozenset({3}))
    runner = inference()
    async with asyncio.TaskGroup() as group:
        innocent = [group.create_task(runner.run(model, [10 + i])) for i in range(5)]
        guilty = group.create_task(runner.run(model, [1, 2, 3, 4]))
    assert reasons(guilty.result()) == [2, 4, "crash_suspect", 8]
    assert [task.result() for task in innocent] == [[20 + 2 * i] for i in range(5)]
    assert not model.crash_while_shared


async def test_a_worker_that_gave_up_stops_everything() -> None:
    model = Model(transient=[WorkerError("died"), WorkerGaveUpError("died too often")])
    with pytest.raises(WorkerGaveUpError):
        await inference().run(model, [1, 2])


@given(
    count=st.integers(1, 60),
    raising=st.frozensets(st.integers(0, 59), max_size=6),
    crashing=st.frozensets(st.integers(0, 59), max_size=3),
    fits=st.integers(1, 60),
)
def test_all_poison_texts_and_only_they_fail(
    count: int, raising: frozenset[int], crashing: frozenset[int], fits: int
) -> None:
    model = Model(raises_on=raising - crashing, crashes_on=crashing, fits=fits)
    results = asyncio.run(inference().run(model, list(range(count))))
    expected = [
        "crash_suspect" if i in crashing else "inference_error" if i in raising else 2 * i
        for i in range(count)
    ]
    assert reasons(results) == expected
