"""No model: a fixed function of the text.

For trying out delivery without weights, for load tests in which the model must not be what is
measured, and, through its faults, for proving what the service does when a model misbehaves.
"""

import asyncio
import hashlib
import math
import os
import signal
from collections.abc import Sequence
from zlib import crc32

from streamlabel.config.model import FakeSettings
from streamlabel.errors import DeviceMemoryError, InferenceError, ModelError
from streamlabel.models.base import ModelInfo, Prediction, PreparedText
from streamlabel.models.labels import LabelSet

__all__ = ["FakeClassifier", "load"]

# Answers there are. Made once, so that a record costs a checksum and a look-up: this model must
# keep up with 20,000 records a second. A prime, so that no power of two in the texts shows.
_ANSWERS = 1021

# Payloads of texts that ask for a fault; all others are the index of their answer.
_FAIL, _CRASH, _HANG = -1, -2, -3


class FakeClassifier:
    """Classifies by checksum: equal texts get equal answers, in every process and on every run.

    Confidence is spread evenly from just above 1/K to 1, so that with three labels or more some
    answers stay below 0.5.
    """

    def __init__(self, settings: FakeSettings) -> None:
        self._settings = settings
        self._labels = LabelSet(tuple(settings.labels))
        names = "\0".join(settings.labels).encode()
        self._info = ModelInfo(
            name="fake", backend="fake", device="cpu", dtype="none",
            digest=hashlib.sha256(names).hexdigest(),
        )  # fmt: skip
        self._answers = [_answer(index, labels=len(self._labels)) for index in range(_ANSWERS)]
        self._faults = [
            (trigger, payload)
            for trigger, payload in (
                (settings.crash_on, _CRASH),
                (settings.hang_on, _HANG),
                (settings.fail_on, _FAIL),
            )
            if trigger is not None
        ]
        self._closed = False

    @property
    def labels(self) -> LabelSet:
        """As configured."""
        return self._labels

    @property
    def info(self) -> ModelInfo:
        """The digest depends on the labels alone."""
        return self._info

    @property
    def max_in_flight(self) -> int:
        """As configured."""
        return self._settings.max_in_flight

    async def prepare(self, texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        """Return one PreparedText per text; a token is four characters, two are special."""
        self._refuse_when_closed()
        reject_on = self._settings.reject_on
        return [
            InferenceError("the text asks to be rejected (model.reject_on)")
            if reject_on is not None and reject_on in text
            else PreparedText(2 + len(text) // 4, self._payload(text))
            for text in texts
        ]

    async def classify(self, prepared: Sequence[PreparedText]) -> list[Prediction | InferenceError]:
        """Return one Prediction per prepared text, after the configured time.

        Raises:
            InferenceError: a text of the batch contains ``fail_on``.
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
            await _fail(min((text.payload for text in prepared), default=0))
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


async def _fail(worst_payload: int) -> None:
    if worst_payload == _HANG:
        await asyncio.Event().wait()
    if worst_payload == _CRASH:
        os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory runs out
    if worst_payload == _FAIL:
        raise InferenceError("a text of the batch asks for an error (model.fail_on)")
