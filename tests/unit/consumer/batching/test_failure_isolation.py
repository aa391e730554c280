"""Getting a batch through a model that raises, runs out of memory, dies, hangs or is stopped."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.consumer.batching.failure_isolation import FailureIsolation
from streamlabel.consumer.batching.token_budget import TokenBudget
from streamlabel.errors import (
    DeviceLostError,
    DeviceMemoryError,
    InferenceError,
    ModelError,
    RecordError,
    WorkerError,
    WorkerGaveUpError,
    WorkerHungError,
    WorkerStoppedError,
)
from tests.doubles import RecordingMetrics

BATCH_DEADLINE_S = 600.0
LOAD_S = 30.0
FIXED = -1


@dataclass
class Worker:
    """Doubles a number, in a process that is started again; some numbers are poison.

    Implements ``models.core.classifier.Supervised``. Time is what its calls are said to take.

    Attributes:
        outside: what is done to it from outside, call by call; None: nothing.
        counted: losses that count towards ``worker.max_restarts``.
        steps_s: when the search said that it had made a step.
    """

    raises_on: frozenset[int] = frozenset()
    kills: frozenset[int] = frozenset()
    hangs: frozenset[int] = frozenset()
    loses_device: frozenset[int] = frozenset()
    refuses: frozenset[int] = frozenset()
    fits: int = 1_000_000
    outside: list[type[ModelError] | None] = field(default_factory=list)
    broken_until: int = 0
    max_restarts: int = 1_000_000
    is_up: bool = True
    calls: list[list[int]] = field(default_factory=list)
    counted: set[int] = field(default_factory=set)
    losses: int = 0
    renewed: int = 0
    now_s: float = 0.0
    steps_s: list[float] = field(default_factory=lambda: [0.0])
    running: int = 0
    searching: int = 0
    found_in_company: bool = False
    largest: int = 0

    async def until_up(self) -> None:
        """Load again."""
        self.now_s += LOAD_S
        self.is_up = True

    @contextmanager
    def search(self) -> Iterator[None]:
        """Losses inside do not count."""
        self.searching += 1
        try:
            yield
        finally:
            self.searching -= 1

    def forgive(self, loss: int) -> None:
        """It was a text's fault."""
        self.counted.discard(loss)

    def renew(self, why: str) -> None:
        """A fresh process may be well."""
        del why
        self.renewed += 1
        self.lose()
        self.broken_until = 0

    def lose(self) -> int:
        """The process is gone."""
        self.losses += 1
        self.is_up = False
        if not self.searching:
            self.counted.add(self.losses)
        return self.losses

    def stepped(self) -> None:
        """The search has made a step."""
        self.steps_s.append(self.now_s)

    async def control(self) -> None:
        """The fixed text."""
        await self([FIXED])

    async def __call__(self, items: Sequence[int]) -> list[int | InferenceError]:
        """Answer, or fail as told."""
        if len(self.counted) > self.max_restarts:
            raise WorkerGaveUpError("it died too often")
        self.calls.append(list(items))
        self.running += 1
        try:
            before = self.losses
            await asyncio.sleep(0)
            if self.losses != before:  # the process that had this call is gone
                raise WorkerError("the worker process was lost", self.losses)
            self._fail_from_outside()
            size = sum(abs(item) % 10 for item in items)
            self._fail_by_itself(frozenset(items), size)
            self.largest = max(self.largest, size)
            return [
                InferenceError("refused") if item in self.refuses else 2 * item for item in items
            ]
        finally:
            self.running -= 1

    def _fail_from_outside(self) -> None:
        done = self.outside.pop(0) if self.outside else None
        if done is not None:
            self.now_s += BATCH_DEADLINE_S if done is WorkerStoppedError else 1
            if not issubclass(done, WorkerError):
                raise done("transient")
            raise done("the worker process was ended by SIGKILL", self.lose())
        if len(self.calls) <= self.broken_until:
            raise InferenceError("RuntimeError: something that no list knows")

    def _fail_by_itself(self, items: frozenset[int], size: int) -> None:
        self.now_s += 1
        for poison, error, takes_s in (
            (self.kills, WorkerError, 0.0),
            (self.hangs, WorkerHungError, BATCH_DEADLINE_S - 1),
            (self.loses_device, DeviceLostError, 0.0),
        ):
            if poison & items:
                self.now_s += takes_s
                self.found_in_company |= self.running > 1 and self.searching > 0
                raise error(f"the worker process was lost: {error.__name__}", self.lose())
        if size > self.fits:
            raise DeviceMemoryError("cpu is out of memory")
        if self.raises_on & items:
            raise InferenceError("IndexError: index out of range in self")


def inference(worker: Worker, *, metrics: RecordingMetrics | None = None) -> FailureIsolation:
    return FailureIsolation(
        metrics=metrics or RecordingMetrics(),
        control=worker.control,
        supervised=worker,
        on_step=worker.stepped,
    )


def budget_of(tokens: int) -> TokenBudget:
    return TokenBudget(tokens, size=lambda items: sum(abs(item) % 10 for item in items))


def reasons(results: Sequence[int | RecordError]) -> list[int | str]:
    return [r.reason if isinstance(r, RecordError) else r for r in results]


async def test_a_transient_error_is_tried_once_more_before_splitting() -> None:
    worker = Worker(outside=[InferenceError])
    assert await inference(worker).run(worker, [1, 2, 3]) == [2, 4, 6]
    assert worker.calls == [[1, 2, 3], [1, 2, 3]]


async def test_one_bad_text_is_found_and_its_neighbours_are_classified() -> None:
    worker = Worker(raises_on=frozenset({5}))
    results = await inference(worker).run(worker, list(range(8)))
    assert reasons(results) == [0, 2, 4, 6, 8, "inference_error", 12, 14]
    # Whole, whole again, then two halves per level, at last once more alone, and a fixed text.
    assert len(worker.calls) == 2 + 2 * 3 + 2
    assert sum(5 in call for call in worker.calls) == 2 + 3 + 1


async def test_a_dead_letter_says_what_happened_and_how_often_it_was_tried() -> None:
    worker = Worker(raises_on=frozenset({5}), kills=frozenset({6}), refuses=frozenset({7}))
    results = await inference(worker).run(worker, [5, 6, 7, 8])
    raised, killed, refused = (r for r in results if isinstance(r, RecordError))
    assert raised.message == "IndexError: index out of range in self"
    assert "lost 3 times while it had this text alone" in killed.message
    assert refused.message == "refused"
    for error, item in ((raised, 5), (killed, 6), (refused, 7)):
        assert error.attempts == sum(item in call for call in worker.calls)


async def test_errors_of_single_texts_become_record_errors() -> None:
    worker = Worker(refuses=frozenset({2}))
    results = await inference(worker).run(worker, [1, 2, 3])
    assert reasons(results) == [2, "inference_error", 6]
    assert len(worker.calls) == 1


async def test_out_of_memory_splits_at_once() -> None:
    worker = Worker(fits=5)
    assert await inference(worker).run(worker, [2, 3, 4, 1]) == [4, 6, 8, 2]
    assert worker.calls == [[2, 3, 4, 1], [2, 3], [4, 1]]


async def test_a_text_that_never_fits_is_a_record_error_that_says_so() -> None:
    worker = Worker(fits=3)
    [result] = await inference(worker).run(worker, [9])
    assert isinstance(result, RecordError)
    assert (result.reason, result.message) == (
        "inference_error",
        "cpu is out of memory, with this text alone",
    )


async def test_a_text_that_never_fits_does_not_lower_the_budget() -> None:
    worker, budget = Worker(fits=30), budget_of(50)
    runner = inference(worker)

    async def classify(*items: int) -> list[int | RecordError]:
        found = await runner.attempt(worker, items, budget=budget)
        return found if isinstance(found, list) else await runner.isolate(found)

    worker.fits = 8
    assert reasons(await classify(1, 2, 9, 3)) == [2, 4, "inference_error", 6]
    assert budget.tokens == 50
    assert reasons(await classify(9)) == ["inference_error"]
    assert budget.tokens == 50


async def test_a_crash_is_retried_and_nothing_is_lost() -> None:
    worker = Worker(outside=[WorkerError])
    assert await inference(worker).run(worker, [1, 2]) == [2, 4]
    assert worker.counted == {1}


async def test_the_text_that_kills_the_worker_is_found_with_few_crashes() -> None:
    worker = Worker(kills=frozenset({77}))
    items = list(range(512))
    results = await inference(worker).run(worker, items)
    assert results[77].reason == "crash_suspect"  # type: ignore[union-attr]  # checked by value
    assert [r for i, r in enumerate(results) if i != 77] == [2 * i for i in items if i != 77]
    assert sum(77 in call for call in worker.calls) <= 6
    assert worker.counted == set()


async def test_an_innocent_batch_beside_a_crash_is_not_blamed() -> None:
    worker = Worker(kills=frozenset({3}))
    runner = inference(worker)
    async with asyncio.TaskGroup() as group:
        innocent = [group.create_task(runner.run(worker, [10 + i])) for i in range(5)]
        guilty = group.create_task(runner.run(worker, [1, 2, 3, 4]))
    assert reasons(guilty.result()) == [2, 4, "crash_suspect", 8]
    assert [task.result() for task in innocent] == [[20 + 2 * i] for i in range(5)]
    assert not worker.found_in_company


async def test_batches_go_on_between_the_steps_of_a_search() -> None:
    worker = Worker(hangs=frozenset({3}))
    runner = inference(worker)
    failed = await runner.attempt(worker, [1, 2, 3, 4])
    assert not isinstance(failed, list)
    search = asyncio.create_task(runner.isolate(failed))
    steps = 0
    while not search.done():
        assert (await runner.run(worker, [10])) == [20]
        steps += 1
    assert steps >= 5
    assert reasons(search.result()) == [2, 4, "crash_suspect", 8]


async def test_a_second_killer_met_during_a_search_costs_no_restart_either() -> None:
    worker = Worker(kills=frozenset({3, 13, 23}), max_restarts=1)
    runner = inference(worker)
    async with asyncio.TaskGroup() as group:
        found = [group.create_task(runner.run(worker, [10 * i + 3, 10 * i])) for i in range(3)]
    assert [reasons(task.result()) for task in found] == [
        ["crash_suspect", 20 * i] for i in range(3)
    ]
    assert worker.counted == set()


async def test_a_worker_that_dies_of_everything_is_given_up_and_no_text_blamed() -> None:
    worker = Worker(kills=frozenset({1, 2, FIXED}), max_restarts=5)
    with pytest.raises(WorkerGaveUpError, match="died too often"):
        await inference(worker).run(worker, [1, 2])
    assert worker.losses <= 5 + 2


async def test_a_worker_that_fails_on_everything_is_replaced_before_a_text_is_blamed() -> None:
    worker = Worker(broken_until=1_000)
    results = await inference(worker).run(worker, [1, 2, 3])
    assert results == [2, 4, 6]
    assert worker.renewed == 1


async def test_a_model_that_fails_on_everything_after_a_restart_too_blames_the_texts() -> None:
    worker = Worker(raises_on=frozenset({1, FIXED}))
    results = await inference(worker).run(worker, [1])
    assert reasons(results) == ["inference_error"]


async def test_a_device_without_any_memory_left_ends_the_service() -> None:
    worker = Worker(fits=0)
    with pytest.raises(WorkerGaveUpError, match="out of memory"):
        await inference(worker).run(worker, [1])


async def test_a_worker_that_gave_up_stops_everything() -> None:
    worker = Worker(outside=[WorkerError], max_restarts=0)
    with pytest.raises(WorkerGaveUpError, match="died too often"):
        await inference(worker).run(worker, [1, 2])


async def test_texts_that_nobody_waits_for_are_not_tried_again() -> None:
    worker = Worker(kills=frozenset({1}))
    runner = inference(worker)
    failed = await runner.attempt(worker, [1, 2], wanted=lambda: [lambda: False, lambda: True])
    assert not isinstance(failed, list)
    assert (await runner.isolate(failed))[1] == 4
    assert sum(1 in call for call in worker.calls) == 1


@pytest.mark.parametrize("kills", range(3))
async def test_a_text_during_which_the_worker_is_killed_from_outside_is_labelled(
    kills: int,
) -> None:
    worker = Worker(outside=[WorkerError, *[WorkerError, None] * kills])
    assert await inference(worker).run(worker, [7]) == [14]


ITEMS = st.frozensets(st.integers(1, 59), max_size=3)
# Somebody kills or stops the worker at random moments, less often than the text needs calls.
OUTSIDE = st.lists(st.sampled_from([None, None, None, WorkerStoppedError]), max_size=30).flatmap(
    lambda calls: st.sets(st.integers(0, 30), max_size=2).map(
        lambda places: [
            WorkerError if i in places else done for i, done in enumerate([*calls, None, None])
        ]
    )
)


POISON = ("raises_on", "kills", "hangs", "loses_device", "refuses")


@given(
    count=st.integers(1, 60),
    poison=st.fixed_dictionaries(dict.fromkeys(POISON, ITEMS)),
    fits=st.integers(9, 300),
    outside=OUTSIDE,
    neighbours=st.integers(0, 3),
)
def test_exactly_the_poison_texts_become_dead_letters(
    count: int,
    poison: dict[str, frozenset[int]],
    fits: int,
    outside: list[type[ModelError] | None],
    neighbours: int,
) -> None:
    worker = Worker(fits=fits, outside=list(outside))
    for kind, items in poison.items():
        setattr(worker, kind, items)
    attacks = sum(done is not None for done in outside)
    budget = budget_of(400)
    results, innocents = asyncio.run(_together(worker, budget, list(range(count)), neighbours))
    crashes = poison["kills"] | poison["hangs"] | poison["loses_device"]
    errors = poison["raises_on"] | poison["refuses"]
    assert reasons(results) == [
        "crash_suspect" if i in crashes else "inference_error" if i in errors else 2 * i
        for i in range(count)
    ]
    assert innocents == [[200, 202, 204]] * neighbours
    # only what was done from outside counts against max_restarts
    assert len(worker.counted) <= attacks
    assert budget.tokens >= min(400, worker.largest)
    gaps = [after - before for before, after in pairwise(worker.steps_s)]
    assert max(gaps, default=0) <= BATCH_DEADLINE_S + 4 * (neighbours + 1)


async def _together(
    worker: Worker, budget: TokenBudget, items: list[int], neighbours: int
) -> tuple[list[int | RecordError], list[list[int | RecordError]]]:
    runner = inference(worker)

    async def classify(batch: Sequence[int]) -> list[int | RecordError]:
        found = await runner.attempt(worker, batch, budget=budget)
        return found if isinstance(found, list) else await runner.isolate(found)

    async with asyncio.TaskGroup() as group:
        main = group.create_task(classify(items))
        others = [group.create_task(classify([100, 101, 102])) for _ in range(neighbours)]
    return main.result(), [task.result() for task in others]
