"""The search for bad texts with real worker processes and real signals."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from streamlabel.config.model import FakeSettings
from streamlabel.config.worker import WorkerSettings
from streamlabel.consumer.batching.failure_isolation import FailureIsolation
from streamlabel.errors import InferenceError, RecordError, WorkerGaveUpError
from streamlabel.models.core.classifier import Prediction, PreparedText
from streamlabel.models.worker.worker_classifier import WorkerClassifier
from tests.doubles import RecordingMetrics

# One restart that is not a search's would be the last.
_STRICT = WorkerSettings(restart_backoff_s=0.01, max_restarts=1, batch_timeout_s=2.0)


class Service:
    """A worker, and what the pipeline does about its failures."""

    def __init__(self, classifier: WorkerClassifier) -> None:
        self.classifier = classifier
        self._inference = FailureIsolation(
            metrics=RecordingMetrics(), control=self._control, supervised=classifier
        )

    async def _control(self) -> None:
        await self.classifier.classify(await self.prepare("a fixed text"))

    async def prepare(self, *texts: str) -> list[PreparedText]:
        """Tokenise."""
        outcomes = await self.classifier.prepare(texts)
        return [outcome for outcome in outcomes if isinstance(outcome, PreparedText)]

    async def ask(self, *texts: str) -> list[str]:
        """Classify a batch; return ``label`` or the reason of the dead letter, per text."""
        return await self.classify(await self.prepare(*texts))

    async def classify(self, prepared: list[PreparedText]) -> list[str]:
        """Classify a batch of prepared texts, likewise."""
        results: list[Prediction | RecordError] = await self._inference.run(
            self.classifier.classify, prepared
        )
        return [r.reason if isinstance(r, RecordError) else "label" for r in results]


@asynccontextmanager
async def service(
    model: FakeSettings, settings: WorkerSettings = _STRICT
) -> AsyncIterator[Service]:
    classifier = await WorkerClassifier.start(model, settings)
    try:
        yield Service(classifier)
    finally:
        await classifier.close()


async def test_two_texts_that_kill_in_a_row_are_found_and_the_service_goes_on() -> None:
    async with service(FakeSettings(crash_on="kills")) as s:
        assert await s.ask("a", "kills 1", "kills 2") == ["label", *["crash_suspect"] * 2]
        assert await s.ask("kills 3") == ["crash_suspect"]
        assert await s.ask("kills 4", "b") == ["crash_suspect", "label"]


async def test_texts_that_lose_the_device_are_found_and_no_other_is_blamed() -> None:
    async with service(FakeSettings(lose_device_on="assert", max_in_flight=2)) as s:
        batches = [["a", "assert"], *[[f"{n} b", f"{n} c"] for n in range(10)]]
        # before: the first batch may end the worker while others are still being prepared
        prepared = [await s.prepare(*batch) for batch in batches]
        found = await asyncio.gather(*map(s.classify, prepared))
        assert found == [["label", "crash_suspect"], *[["label", "label"]] * 10]


async def test_a_text_that_hangs_is_found() -> None:
    settings = _STRICT.model_copy(update={"batch_timeout_s": 0.4})
    async with service(FakeSettings(hang_on="hangs"), settings) as s:
        assert await s.ask("a", "hangs") == ["label", "crash_suspect"]


async def test_a_worker_killed_twice_from_outside_during_one_text_blames_nobody() -> None:
    settings = WorkerSettings(restart_backoff_s=0.01)
    async with service(FakeSettings(batch_s=0.5), settings) as s:
        answer = asyncio.create_task(s.ask("innocent"))
        last = None
        for _ in range(2):
            async with asyncio.timeout(20):
                # processes set no asyncio.Event
                while s.classifier.pid in {None, last} or not _is_asked(s.classifier):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            last = s.classifier.pid
            os.kill(last or 0, signal.SIGKILL)
        assert await answer == ["label"]


def _is_asked(classifier: WorkerClassifier) -> bool:
    process = classifier._process
    return process is not None and process.in_flight > 0


async def test_a_model_that_dies_of_everything_is_given_up_and_no_text_blamed() -> None:
    async with service(FakeSettings(crash_on="")) as s:
        with pytest.raises(WorkerGaveUpError, match="was lost 2 times within 300 s"):
            await s.ask("a", "b")


async def test_errors_keep_their_words() -> None:
    async with service(FakeSettings(fail_on="raises")) as s:
        prepared = await s.prepare("raises")
        [result] = await s._inference.run(s.classifier.classify, prepared)
        assert isinstance(result, RecordError)
        assert result.message == "a text of the batch contains model.fail_on"
        assert result.attempts == 2
        assert not isinstance(result, InferenceError)
