"""A back end that counts keywords. Import large libraries in ``load``."""

import asyncio
import hashlib
import math
import re
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from streamlabel.api import (
    Backend,
    BackendSettings,
    BatchHints,
    InferenceError,
    LabelSet,
    ModelError,
    ModelIdentity,
    Prediction,
    PreparedText,
)

__all__ = ["KeywordClassifier", "KeywordSettings", "backend"]


class KeywordSettings(BackendSettings):
    """Labels by the keywords in a text."""

    backend: Literal["keyword"] = "keyword"
    keywords: dict[str, list[str]] = Field(
        min_length=2, description="Label -> its keywords, in lower case."
    )
    weight: float = Field(1.0, gt=0, description="What one keyword adds to its label's score.")


class KeywordClassifier:
    """Counts keywords; the probabilities are the softmax of the counts."""

    def __init__(self, settings: KeywordSettings) -> None:
        self._keywords = [frozenset(words) for words in settings.keywords.values()]
        self._weight = settings.weight
        self._labels = LabelSet(tuple(settings.keywords))
        self._identity = ModelIdentity(
            name="keyword",
            backend="keyword",
            device="cpu",
            dtype="float64",
            # equal digests must mean equal predictions: calibrations rely on it
            digest=hashlib.sha256(settings.model_dump_json().encode()).hexdigest(),
        )
        self._is_closed = False

    @property
    def labels(self) -> LabelSet:
        """The labels, in the order of the probabilities."""
        return self._labels

    @property
    def identity(self) -> ModelIdentity:
        """The identity of the model, for every output record."""
        return self._identity

    @property
    def hints(self) -> BatchHints:
        """One batch at a time, without padding."""
        return BatchHints(pads=False)

    async def prepare(self, texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        """Split texts into words, so that the size of a batch is known before it is formed."""
        self._refuse_when_closed()
        return await asyncio.to_thread(lambda: [self._prepare(text) for text in texts])

    async def classify(self, prepared: Sequence[PreparedText]) -> list[Prediction | InferenceError]:
        """Classify in the order of ``prepared``, in a thread that does not block the event loop."""
        self._refuse_when_closed()
        return await asyncio.to_thread(lambda: [self._answer(text) for text in prepared])

    async def close(self) -> None:
        """Release nothing; later calls raise ModelError."""
        self._is_closed = True

    def _prepare(self, text: str) -> PreparedText:
        words = re.findall(r"\w+", text.lower())
        counts = tuple(sum(word in wanted for word in words) for wanted in self._keywords)
        return PreparedText(tokens=1 + len(words), payload=counts, is_unreadable=not words)

    def _answer(self, text: PreparedText) -> Prediction:
        scores = tuple(self._weight * count for count in text.payload)
        powers = [math.exp(score - max(scores)) for score in scores]
        return Prediction(
            probabilities=tuple(power / sum(powers) for power in powers),
            log_scores=scores,
            is_unreadable=text.is_unreadable,
        )

    def _refuse_when_closed(self) -> None:
        if self._is_closed:
            raise ModelError("the classifier is closed")


backend = Backend(settings=KeywordSettings, load=KeywordClassifier)
