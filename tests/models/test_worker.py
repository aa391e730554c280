"""Promises of the worker process, kept by real processes and real signals."""

import asyncio
import contextlib
import functools
import gc
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import psutil
import pytest

from streamlabel.config.model import FakeSettings
from streamlabel.config.worker import WorkerSettings
from streamlabel.errors import (
    ConfigError,
    DeviceLostError,
    DeviceMemoryError,
    InferenceError,
    ModelError,
    ModelLoadError,
    WorkerError,
    WorkerGaveUpError,
    WorkerHungError,
    WorkerStoppedError,
)
from streamlabel.models.core.classifier import Prediction, PreparedText
from streamlabel.models.core.fake import FakeClassifier
from streamlabel.models.worker.worker_classifier import WorkerClassifier
from tests.doubles import ManualClock

_QUICK = WorkerSettings(restart_backoff_s=0.01)
_DEADLINE_S = 20.0


@asynccontextmanager
async def _worker(
    model: FakeSettings,
    settings: WorkerSettings = _QUICK,
    *,
    on_loss: Callable[[str], None] = lambda _why: None,
    on_restart: Callable[[str], None] = lambda _why: None,
    clock: ManualClock | None = None,
    close_grace_s: float = 10.0,
) -> AsyncIterator[WorkerClassifier]:
    classifier = await WorkerClassifier.start(
        model,
        settings,
        on_loss=on_loss,
        on_restart=on_restart,
        clock=clock,
        close_grace_s=close_grace_s,
    )
    try:
        yield classifier
    finally:
        await classifier.close()


async def _prepare(classifier: WorkerClassifier, *texts: str) -> list[PreparedText]:
    outcomes = await classifier.prepare(texts)
    return [outcome for outcome in outcomes if isinstance(outcome, PreparedText)]


async def _classify(
    classifier: WorkerClassifier, *texts: str
) -> Sequence[Prediction | InferenceError]:
    return await classifier.classify(await _prepare(classifier, *texts))


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(_DEADLINE_S):
        while not condition():  # noqa: ASYNC110 processes set no asyncio.Event
            await asyncio.sleep(0.01)


def _pid(classifier: WorkerClassifier) -> int:
    assert classifier.pid is not None
    return classifier.pid


def _is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def workers() -> list[psutil.Process]:
    """Our worker processes; engines of other tests' fixtures are children of pytest as well."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            is_unreaped = child.status() == "zombie" and child.name().startswith("python")
            if is_unreaped or "streamlabel.models.worker.process_main" in child.cmdline():
                found.append(child)
    return found


def _in_flight(answer: Awaitable[object]) -> "asyncio.Future[object]":
    return asyncio.ensure_future(answer)


async def test_the_answers_are_those_of_the_model() -> None:
    settings = FakeSettings(labels=["x", "y", "z"], max_in_flight=3)
    inside = FakeClassifier(settings)
    texts = ["one", "another", "a third one, somewhat longer"]
    expected = await inside.classify(
        [p for p in await inside.prepare(texts) if isinstance(p, PreparedText)]
    )
    async with _worker(settings) as classifier:
        assert await _classify(classifier, *texts) == expected
        assert classifier.labels == inside.labels
        assert classifier.identity == inside.identity
        assert classifier.hints.max_in_flight == 3


async def test_ten_requests_at_once_keep_their_answers_apart() -> None:
    texts = [[f"text {request} {row}" for row in range(request + 1)] for request in range(10)]
    async with _worker(FakeSettings(batch_s=0.02, token_s=0.001)) as classifier:
        one_by_one = [await _classify(classifier, *batch) for batch in texts]
        at_once = await asyncio.gather(*(_classify(classifier, *batch) for batch in texts))
        assert at_once == one_by_one


async def test_preparing_goes_on_while_a_batch_is_classified() -> None:
    async with _worker(FakeSettings(batch_s=600.0)) as classifier:
        answer = _in_flight(_classify(classifier, "slow"))
        assert len(await _prepare(classifier, "one", "two")) == 2
        assert not answer.done()
        answer.cancel()


async def test_a_caller_that_leaves_does_not_disturb_the_others() -> None:
    async with _worker(FakeSettings(batch_s=0.05)) as classifier:
        prepared = await _prepare(classifier, "text")
        leaving = _in_flight(classifier.classify(prepared))
        staying = _in_flight(classifier.classify(prepared))
        await asyncio.sleep(0)
        leaving.cancel()
        assert await staying == await classifier.classify(prepared)


async def test_errors_of_the_model_pass_through_as_themselves() -> None:
    async with _worker(FakeSettings(fail_on="poison", oom_over_tokens=100)) as classifier:
        with pytest.raises(InferenceError, match=r"model\.fail_on"):
            await _classify(classifier, "good", "poison")
        with pytest.raises(DeviceMemoryError, match="100 fit"):
            await _classify(classifier, "x" * 1000)
        assert len(await _classify(classifier, "good")) == 1


async def test_an_unexpected_error_is_an_inference_error_without_the_text(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async with _worker(FakeSettings()) as classifier:
        with pytest.raises(InferenceError, match="TypeError"):
            await classifier.classify([PreparedText(1, pickle.dumps("secret text"))])
        assert len(await _classify(classifier, "good")) == 1
        pid = _pid(classifier)
    logged = capfd.readouterr().err
    assert "TypeError" in logged
    assert str(pid) in logged
    assert "secret" not in logged


async def test_a_killed_worker_fails_what_is_in_flight_and_comes_back() -> None:
    restarts: list[str] = []
    model = FakeSettings(batch_s=0.2)
    async with _worker(model, on_restart=restarts.append) as classifier:
        prepared = await _prepare(classifier, "text")
        first = _pid(classifier)
        calls = [_in_flight(classifier.classify(prepared)) for _ in range(3)]
        await asyncio.sleep(0)
        os.kill(first, signal.SIGKILL)
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            assert type(outcome) is WorkerError
            assert outcome.loss == 1
            assert "SIGKILL" in str(outcome)
        assert len(await classifier.classify(prepared)) == 1
        assert _pid(classifier) != first
        assert restarts == ["was ended by SIGKILL (out of memory?)"]


async def test_a_loss_is_told_before_its_calls_fail_and_before_the_replacement_starts() -> None:
    told: list[tuple[str, bool]] = []
    clock = ManualClock()
    holder: list[WorkerClassifier] = []

    def on_loss(why: str) -> None:
        told.append((why, holder[0].is_up))

    settings = WorkerSettings(restart_backoff_s=5.0)
    async with _worker(FakeSettings(batch_s=60.0), settings, on_loss=on_loss, clock=clock) as it:
        holder.append(it)
        call = _in_flight(it.classify(await _prepare(it, "text")))
        call.add_done_callback(lambda _: told.append(("the call failed", it.is_up)))
        await asyncio.sleep(0)
        os.kill(_pid(it), signal.SIGKILL)
        with pytest.raises(WorkerError, match="was ended by SIGKILL"):
            await call
        await asyncio.sleep(0)
        assert told == [
            ("was ended by SIGKILL (out of memory?)", False),
            ("the call failed", False),
        ]
        assert not await it.answers(within_s=5.0)


async def test_a_worker_that_answered_and_was_lost_at_once_does_not_answer() -> None:
    clock = ManualClock()
    settings = WorkerSettings(restart_backoff_s=5.0)
    lost: list[str] = []
    async with _worker(FakeSettings(), settings, on_loss=lost.append, clock=clock) as classifier:
        process = classifier._process
        assert process is not None
        answer_of = process.ping

        async def ping_then_die() -> None:
            await answer_of()
            process.kill()
            async with asyncio.timeout(_DEADLINE_S):
                while not lost:  # noqa: ASYNC110 the loss has no event
                    await asyncio.sleep(0.001)

        process.ping = ping_then_die  # type: ignore[method-assign]
        assert not await classifier.answers(within_s=_DEADLINE_S)


async def test_a_worker_that_kills_itself_comes_back() -> None:
    async with _worker(FakeSettings(crash_on="boom")) as classifier:
        with pytest.raises(WorkerError, match="worker process"):
            await _classify(classifier, "good", "boom")
        assert len(await _classify(classifier, "good")) == 1


@pytest.mark.parametrize("stopped", [False, True], ids=["busy for ever", "stopped"])
async def test_a_hung_worker_is_killed_at_the_deadline_and_comes_back(stopped: bool) -> None:
    settings = WorkerSettings(restart_backoff_s=0.01, batch_timeout_s=0.5)
    async with _worker(FakeSettings(hang_on="forever"), settings) as classifier:
        prepared = await _prepare(classifier, "fine" if stopped else "forever")
        first = _pid(classifier)
        if stopped:
            os.kill(first, signal.SIGSTOP)
        started_s = time.monotonic()
        # Who was stopped is told apart: that says nothing about the text.
        kind = WorkerStoppedError if stopped else WorkerHungError
        said = "was stopped from outside" if stopped else "did not answer a classify request within"
        with pytest.raises(kind, match=said):
            await classifier.classify(prepared)
        assert 0.4 < time.monotonic() - started_s < 5
        assert len(await _classify(classifier, "good")) == 1
        assert _is_gone(first)


async def test_a_stopped_worker_does_not_answer_and_is_not_ended_by_being_asked() -> None:
    async with _worker(FakeSettings()) as classifier:
        first = _pid(classifier)
        assert await classifier.answers(within_s=_DEADLINE_S)
        os.kill(first, signal.SIGSTOP)
        try:
            assert not await classifier.answers(within_s=0.3)
            assert classifier.is_up
        finally:
            os.kill(first, signal.SIGCONT)
        assert await classifier.answers(within_s=_DEADLINE_S)
        assert _pid(classifier) == first


async def test_a_worker_answers_in_the_middle_of_a_batch() -> None:
    async with _worker(FakeSettings(batch_s=60.0)) as classifier:
        batch = _in_flight(classifier.classify(await _prepare(classifier, "long")))
        assert await classifier.answers(within_s=_DEADLINE_S)
        assert not batch.done()
        batch.cancel()


async def test_a_worker_that_is_gone_does_not_answer() -> None:
    clock = ManualClock()
    async with _worker(FakeSettings(), WorkerSettings(), clock=clock) as classifier:
        asking = asyncio.ensure_future(classifier.answers(within_s=_DEADLINE_S))
        os.kill(_pid(classifier), signal.SIGKILL)
        await _until(lambda: not classifier.is_up)
        assert not await classifier.answers(within_s=_DEADLINE_S)
        await asking


async def test_a_worker_that_is_stopped_for_a_while_goes_on() -> None:
    settings = WorkerSettings(restart_backoff_s=0.01, batch_timeout_s=1.0)
    async with _worker(FakeSettings(batch_s=0.7), settings) as classifier:
        prepared = await _prepare(classifier, "text")
        first = _pid(classifier)
        call = _in_flight(classifier.classify(prepared))
        await asyncio.sleep(0.1)
        os.kill(first, signal.SIGSTOP)
        await asyncio.sleep(0.7)  # with what it takes before and after: beyond the deadline
        os.kill(first, signal.SIGCONT)
        assert len(await call) == 1  # type: ignore[arg-type]  # of an answer
        assert _pid(classifier) == first


async def test_a_lost_device_ends_the_worker_and_the_next_one_is_well() -> None:
    model = FakeSettings(lose_device_on="assert", max_in_flight=2)
    async with _worker(model) as classifier:
        first = _pid(classifier)
        with pytest.raises(DeviceLostError, match="the worker process lost its device"):
            await _classify(classifier, "good", "assert")
        assert len(await _classify(classifier, "good")) == 1
        assert _is_gone(first)


async def test_restarts_of_a_search_do_not_count() -> None:
    settings = WorkerSettings(restart_backoff_s=0.01, max_restarts=1)
    async with _worker(FakeSettings(crash_on="boom"), settings) as classifier:
        for _ in range(3):
            with classifier.search(), pytest.raises(WorkerError, match="worker process"):
                await _classify(classifier, "boom")
        for _ in range(3):
            with pytest.raises(WorkerError) as lost:
                await _classify(classifier, "boom")
            classifier.forgive(lost.value.loss)
        assert len(await _classify(classifier, "good")) == 1


async def test_a_worker_of_no_use_is_replaced() -> None:
    async with _worker(FakeSettings(batch_s=600.0)) as classifier:
        first = _pid(classifier)
        call = _in_flight(_classify(classifier, "text"))
        await _until(lambda: _calls(classifier) == 1)
        classifier.renew("fails on a fixed text")
        with pytest.raises(WorkerError, match="fails on a fixed text"):
            await call
        await classifier.until_up()
        assert _pid(classifier) != first


async def test_calls_made_during_a_restart_wait_for_it() -> None:
    clock = ManualClock()
    settings = WorkerSettings(restart_backoff_s=20.0)
    async with _worker(FakeSettings(), settings, clock=clock) as classifier:
        prepared = await _prepare(classifier, "text")
        expected = await classifier.classify(prepared)
        os.kill(_pid(classifier), signal.SIGKILL)
        await _until(lambda: clock.sleeping == 1)
        assert not classifier.is_up
        calls = [_in_flight(classifier.classify(prepared)) for _ in range(3)]
        await clock.advance(19.9)
        assert clock.sleeping == 1
        await clock.advance(0.2)
        assert await asyncio.gather(*calls) == [expected] * 3
        assert classifier.is_up


async def test_a_crash_loop_ends_in_giving_up() -> None:
    settings = WorkerSettings(restart_backoff_s=0.01, max_restarts=2)
    async with _worker(FakeSettings(crash_on="boom"), settings) as classifier:
        for _ in range(3):
            with pytest.raises(WorkerError) as lost:
                await _classify(classifier, "boom")
            assert not isinstance(lost.value, WorkerGaveUpError)
        for _ in range(2):
            with pytest.raises(WorkerGaveUpError, match="lost 3 times within 300 s"):
                await _classify(classifier, "good")
        assert not classifier.is_up


async def test_calls_that_wait_for_a_restart_are_told_when_it_is_given_up() -> None:
    clock = ManualClock()
    settings = WorkerSettings(restart_backoff_s=20.0, load_timeout_s=0.001, max_restarts=1)
    patient = WorkerSettings(restart_backoff_s=20.0, max_restarts=1)
    async with _worker(FakeSettings(), patient, clock=clock) as classifier:
        classifier._settings = settings  # the next start is too slow
        os.kill(_pid(classifier), signal.SIGKILL)
        await _until(lambda: clock.sleeping == 1)
        call = _in_flight(classifier.prepare(["text"]))
        await clock.advance(20.0)
        with pytest.raises(WorkerGaveUpError, match="load_timeout_s"):
            await call


async def test_a_restart_that_finds_another_model_gives_up() -> None:
    model = FakeSettings()
    async with _worker(model) as classifier:
        model.labels.append("new")  # as if the files had been replaced
        os.kill(_pid(classifier), signal.SIGKILL)
        with pytest.raises(WorkerGaveUpError, match="the model changed"):
            await _until_raises(classifier)


async def _until_raises(classifier: WorkerClassifier) -> None:
    async with asyncio.timeout(_DEADLINE_S):
        while True:
            try:
                await classifier.prepare(["text"])
            except WorkerGaveUpError:
                raise
            except WorkerError:
                continue


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_to_the_whole_group_does_not_end_the_worker(number: signal.Signals) -> None:
    async with _worker(FakeSettings()) as classifier:
        pid = _pid(classifier)
        assert os.getpgid(pid) != os.getpgrp()
        os.killpg(os.getpgid(pid), number)
        assert len(await _classify(classifier, "text")) == 1
        assert _pid(classifier) == pid


_PARENT = """
import asyncio
from streamlabel.config.model import FakeSettings
from streamlabel.config.worker import WorkerSettings
from streamlabel.models.worker.worker_classifier import WorkerClassifier

async def main():
    classifier = await WorkerClassifier.start(FakeSettings(batch_s=600.0), WorkerSettings())
    prepared = await classifier.prepare(["text"])
    call = asyncio.ensure_future(classifier.classify(prepared))
    await asyncio.sleep(0)
    print("pid", classifier.pid, flush=True)
    await call

asyncio.run(main())
"""


async def test_a_worker_in_the_middle_of_a_batch_ends_with_its_parent() -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PARENT, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    async with asyncio.timeout(_DEADLINE_S):
        while not (line := await parent.stdout.readline()).startswith(b"pid "):
            assert line, "the parent ended"
    pid = int(line.split()[1])
    assert not _is_gone(pid)
    parent.kill()
    await parent.communicate()
    await _until(lambda: _is_gone(pid))


_PAUSED = """
import asyncio, sys
from streamlabel.config.model import FakeSettings
from streamlabel.config.worker import WorkerSettings
from streamlabel.models.worker.worker_classifier import WorkerClassifier

async def main():
    settings = WorkerSettings(batch_timeout_s=1.0, restart_backoff_s=0.01)
    classifier = await WorkerClassifier.start(FakeSettings(batch_s=0.5), settings)
    prepared = await classifier.prepare(["text"])
    call = asyncio.ensure_future(classifier.classify(prepared))
    await asyncio.sleep(0)
    pid = classifier.pid
    print("pid", pid, flush=True)
    answer = await call
    print("answers", len(answer), "same" if classifier.pid == pid else "other", flush=True)
    await classifier.close()

asyncio.run(main())
"""


@pytest.mark.parametrize("both", [False, True], ids=["the service", "service and worker"])
async def test_a_pause_beyond_the_deadline_costs_nothing(both: bool) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PAUSED, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    async with asyncio.timeout(_DEADLINE_S):
        while not (line := await parent.stdout.readline()).startswith(b"pid "):
            assert line, "the parent ended"
        stopped = [parent.pid, int(line.split()[1])] if both else [parent.pid]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(2.0)  # the pause that the test is about
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        assert await parent.stdout.readline() == b"answers 1 same\n"
        await parent.communicate()
    assert parent.returncode == 0


async def _start(
    configure_logging: Callable[[], None] | None = None,
    *,
    labels: Sequence[str] = ("a", "b"),
    load_timeout_s: float = 20.0,
) -> None:
    await WorkerClassifier.start(
        FakeSettings(labels=list(labels)),
        WorkerSettings(load_timeout_s=load_timeout_s),
        configure_logging=configure_logging,
    )


async def test_a_configuration_error_comes_out_unchanged() -> None:
    with pytest.raises(ConfigError, match="labels must be distinct, repeated: same"):
        await _start(labels=["same", "same"])


# The logging hook is the one thing of a caller's that runs in the worker before the model.
async def test_a_death_while_loading_is_a_load_error_that_says_how() -> None:
    with pytest.raises(ModelLoadError, match="was ended by SIGKILL"):
        await _start(functools.partial(signal.raise_signal, signal.SIGKILL))
    with pytest.raises(ModelLoadError, match="ended with status 7"):
        await _start(functools.partial(os._exit, 7))


async def test_a_load_that_takes_too_long_is_a_load_error() -> None:
    with pytest.raises(ModelLoadError, match=r"within 0.5 s: raise worker\.load_timeout_s"):
        await _start(signal.pause, load_timeout_s=0.5)
    assert workers() == []


async def test_a_cancelled_start_leaves_no_process() -> None:
    start = _in_flight(_start(signal.pause))
    await _until(lambda: workers() != [])
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert workers() == []


@pytest.mark.parametrize("rounds", range(12))
async def test_a_start_cancelled_at_any_step_leaves_nothing(rounds: int) -> None:
    start = _in_flight(_start(signal.pause))
    for _ in range(rounds):
        await asyncio.sleep(0.001)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert workers() == []
    gc.collect()  # what was not closed warns now, and a warning is an error


async def test_closing_leaves_no_process_descriptor_or_warning() -> None:
    await _start_and_close()  # the event loop's own descriptors come with the first child
    before = psutil.Process().num_fds()
    await _start_and_close()
    assert workers() == []
    assert psutil.Process().num_fds() == before


async def _start_and_close() -> None:
    async with _worker(FakeSettings(crash_on="boom")) as classifier:
        with pytest.raises(WorkerError, match="worker process"):
            await _classify(classifier, "boom")
        await _classify(classifier, "good")
    await classifier.close()
    with pytest.raises(ModelError, match="closed"):
        await classifier.prepare(["text"])
    assert not classifier.is_up
    gc.collect()  # what was not closed warns now, and a warning is an error


async def test_closing_ends_calls_in_flight_and_calls_that_wait() -> None:
    clock = ManualClock()
    async with _worker(FakeSettings(hang_on="forever"), clock=clock) as classifier:
        running = _in_flight(_classify(classifier, "forever"))
        await _until(lambda: _calls(classifier) == 1)
        await classifier.close()
        with pytest.raises(ModelError, match="closed"):
            await running

    async with _worker(FakeSettings(), clock=clock) as classifier:
        os.kill(_pid(classifier), signal.SIGKILL)
        await _until(lambda: clock.sleeping == 1)
        waiting = _in_flight(classifier.prepare(["text"]))
        await asyncio.sleep(0)
        await classifier.close()
        with pytest.raises(ModelError, match="closed"):
            await waiting


def _calls(classifier: WorkerClassifier) -> int:
    return classifier._process.in_flight if classifier._process is not None else 0


async def test_closing_twice_at_once_is_closing_once() -> None:
    async with _worker(FakeSettings()) as classifier:
        pid = _pid(classifier)
        await asyncio.gather(classifier.close(), classifier.close())
        assert _is_gone(pid)


async def test_a_worker_that_does_not_leave_is_killed_after_the_grace() -> None:
    async with _worker(FakeSettings(), close_grace_s=0.2) as classifier:
        pid = _pid(classifier)
        os.kill(pid, signal.SIGSTOP)
        await classifier.close()
        assert _is_gone(pid)
