"""The null model: a fixed function of the text.

Used to try out delivery without weights, for load tests of the service alone, and, with its
configurable faults, to test what the service does when a model fails.
"""

import asyncio
import hashlib
import math
import os
import signal
from collections.abc import Sequence
from zlib import crc32

from streamlabel.config.model import FakeSettings
from streamlabel.errors import DeviceLostError, DeviceMemoryError, InferenceError, ModelError
from streamlabel.models.core.classifier import BatchHints, ModelIdentity, Prediction, PreparedText
from streamlabel.models.core.labels import LabelSet

__all__ = ["FakeClassifier", "load"]

# Number of distinct predictions. They are created once, so that a record costs a checksum and a
# look-up: this model must sustain 20,000 records per second. A prime, so that powers of two in the
# texts have no effect.
_ANSWERS = 1021

# Payloads of texts that trigger a fault; every other payload is the index of a prediction.
_FAIL, _CRASH, _HANG, _LOSE = -1, -2, -3, -4


class FakeClassifier:
    """Classifies by checksum: equal texts get equal predictions, in every process and run.

    Confidence is spread evenly from just above 1/K to 1, so that with three labels or more some
    predictions stay below 0.5.
    """

    def __init__(self, settings: FakeSettings) -> None:
        self._settings = settings
        self._labels = LabelSet(tuple(settings.labels))
        names = "\0".join(settings.labels).encode()
        self._identity = ModelIdentity(
            name="fake", backend="fake", device="cpu", dtype="none",
            digest=hashlib.sha256(names).hexdigest(),
        )  # fmt: skip
        self._answers = [_answer(index, labels=len(self._labels)) for index in range(_ANSWERS)]
        self._faults = [
            (trigger, payload)
            for trigger, payload in (
                (settings.crash_on, _CRASH),
                (settings.hang_on, _HANG),
                (settings.lose_device_on, _LOSE),
                (settings.fail_on, _FAIL),
            )
            if trigger is not None
        ]
        self._closed = False
        self._device_is_lost = False

    @property
    def labels(self) -> LabelSet:
        """As configured."""
        return self._labels

    @property
    def identity(self) -> ModelIdentity:
        """The digest depends on the labels alone."""
        return self._identity

    @property
    def hints(self) -> BatchHints:
        """As configured."""
        return BatchHints(max_in_flight=self._settings.max_in_flight)

    async def prepare(self, texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        """Return one PreparedText per text; a token is four characters, two are special."""
        self._refuse_when_closed()
        reject_on = self._settings.reject_on
        return [
            InferenceError("the text contains model.reject_on")
            if reject_on is not None and reject_on in text
            else PreparedText(2 + len(text) // 4, self._payload(text))
            for text in texts
        ]

    async def classify(self, prepared: Sequence[PreparedText]) -> list[Prediction | InferenceError]:
        """Return one Prediction per prepared text, after the configured time.

        Raises:
            InferenceError: a text of the batch contains ``fail_on``.
            DeviceLostError: a text of the batch, or an earlier one, contains ``lose_device_on``.
            DeviceMemoryError: the batch has more padded tokens than ``oom_over_tokens``.
        """
        self._refuse_when_closed()
        padded_tokens = _padded_tokens(prepared)
        wait_s = self._settings.batch_s + self._settings.token_s * padded_tokens
        if wait_s:
            await asyncio.sleep(wait_s)
        limit = self._settings.oom_over_tokens
        if limit is not None and padded_tokens > limit:
            raise DeviceMemoryError(f"{padded_tokens} padded tokens, {limit} fit")
        if self._faults:
            await self._fail(min((text.payload for text in prepared), default=0))
        return [self._answers[text.payload] for text in prepared]

    async def close(self) -> None:
        """Nothing to release."""
        self._closed = True

    def _payload(self, text: str) -> int:
        for trigger, payload in self._faults:
            if trigger in text:
                return payload
        # surrogatepass: JSON may hold lone surrogates, and every str must be taken.
        return crc32(text.encode("utf-8", "surrogatepass")) % _ANSWERS

    async def _fail(self, worst_payload: int) -> None:
        if worst_payload == _HANG:
            await asyncio.Event().wait()
        if worst_payload == _CRASH:
            os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory runs out
        self._device_is_lost |= worst_payload == _LOSE
        if self._device_is_lost:  # as CUDA does after an assert: nothing works any more
            raise DeviceLostError("lost its device: a text contains model.lose_device_on")
        if worst_payload == _FAIL:
            raise InferenceError("a text of the batch contains model.fail_on")

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise ModelError("the classifier is closed")


def load(settings: FakeSettings) -> FakeClassifier:
    """Return the classifier; nothing can go wrong."""
    return FakeClassifier(settings)


def _answer(index: int, *, labels: int) -> Prediction:
    least = 1 / labels
    confidence = least + (1 - least) * (index + 1) / (_ANSWERS + 1)
    rest = (1 - confidence) / (labels - 1)
    chosen = index % labels
    probabilities = tuple(confidence if label == chosen else rest for label in range(labels))
    return Prediction(probabilities, tuple(map(math.log, probabilities)))


def _padded_tokens(prepared: Sequence[PreparedText]) -> int:
    rows = sum(text.rows for text in prepared)
    return rows * max((text.tokens for text in prepared), default=0)
