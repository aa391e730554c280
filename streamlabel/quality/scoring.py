"""Classifies labelled texts with the configured model, in the same way as the service."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamlabel.config.settings import BatchingSettings
from streamlabel.consumer.batching.micro_batcher import MicroBatcher
from streamlabel.consumer.routing.router import RoutingPolicy
from streamlabel.errors import ConfigError, InferenceError
from streamlabel.models.calibration.calibration import log_scores_of
from streamlabel.models.core.classifier import (
    BatchHints,
    Classifier,
    ModelIdentity,
    Prediction,
    PreparedText,
)
from streamlabel.models.core.labels import LabelSet
from streamlabel.quality.labelled import LabelledText

__all__ = ["Answers", "ask"]

_PREPARE_ITEMS = 256
# With fewer usable predictions the model is faulty, and the rest is not a representative sample.
_LEAST_ANSWERED = 0.5


@dataclass(frozen=True, slots=True)
class Answers:
    """Predictions for labelled texts.

    Attributes:
        texts: those with a prediction, in the order of the file.
        predictions: one per text.
        failed: (line, reason) of texts for which the model raised an error.
        unanswered: number of texts without a usable prediction; they always go to review.
    """

    labels: LabelSet
    identity: ModelIdentity
    hints: BatchHints
    texts: tuple[LabelledText, ...]
    predictions: tuple[Prediction, ...]
    failed: tuple[tuple[int, str], ...]
    unanswered: int

    @property
    def log_scores(self) -> NDArray[np.float64]:
        """The input of calibration, (N, K)."""
        problem = self.labels.problem_type
        return np.array([log_scores_of(p, problem) for p in self.predictions], dtype=np.float64)

    @property
    def truth(self) -> NDArray[np.bool_]:
        """Which labels are correct, (N, K)."""
        names = self.labels.names
        return np.array([[name in text.labels for name in names] for text in self.texts])

    def is_open(self, policy: RoutingPolicy) -> NDArray[np.bool_]:
        """Return which texts (N,) have no reason for review other than their confidence."""
        doubts = [set(policy.choose(p).reasons) - {"low_confidence"} for p in self.predictions]
        return np.array([not reasons for reasons in doubts], dtype=bool)

    def is_accepted(self, policy: RoutingPolicy) -> NDArray[np.bool_]:
        """Return which texts (N,) have no reason for review."""
        return np.array([not policy.choose(p).reasons for p in self.predictions], dtype=bool)

    def is_sure(self, policy: RoutingPolicy) -> NDArray[np.bool_]:
        """Return which answers (N, K) of a multi-label task are sure."""
        names = self.labels.names
        unsure = [set(policy.choose(p).unsure_labels) for p in self.predictions]
        return np.array([[name not in each for name in names] for each in unsure], dtype=bool)


async def ask(
    classifier: Classifier,
    texts: Sequence[LabelledText],
    limits: BatchingSettings,
    *,
    on_done: Callable[[int, str], None],
    normalise: Callable[[str], str] = str,
) -> Answers:
    """Return the model's predictions.

    Args:
        classifier: the model, loaded; the caller closes it.
        texts: labelled.
        limits: of a batch.
        on_done: called with the number of finished texts and a note.
        normalise: makes the model's copy of a text, as in the service.

    Raises:
        ConfigError: fewer than half of the texts have a usable prediction.
        ModelError: the model failed too often.
    """
    found: dict[int, Prediction | InferenceError] = {}
    batcher: MicroBatcher[tuple[int, PreparedText]] = MicroBatcher(
        max_tokens=limits.max_batch_tokens or classifier.hints.batch_tokens,
        max_items=limits.max_batch_items,
        pads=classifier.hints.pads,
    )
    for start in range(0, len(texts), _PREPARE_ITEMS):
        chunk = [normalise(text.text) for text in texts[start : start + _PREPARE_ITEMS]]
        for index, prepared in enumerate(await classifier.prepare(chunk), start=start):
            if isinstance(prepared, InferenceError):
                found[index] = prepared
            else:
                batcher.add(
                    (index, prepared), tokens=prepared.tokens, rows=prepared.rows, now_s=0.0
                )
        while (batch := batcher.take(float("inf"))) is not None:
            indexes = [index for index, _ in batch.items]
            answers = await classifier.classify([prepared for _, prepared in batch.items])
            found.update(zip(indexes, answers, strict=True))
            on_done(len(found), "texts")
    return _sorted_out(classifier, texts, found)


def _sorted_out(
    classifier: Classifier,
    texts: Sequence[LabelledText],
    found: dict[int, Prediction | InferenceError],
) -> Answers:
    answered: list[tuple[LabelledText, Prediction]] = []
    failed: list[tuple[int, str]] = []
    unanswered = 0
    for index, text in enumerate(texts):
        outcome = found[index]
        if isinstance(outcome, InferenceError):
            failed.append((text.line, str(outcome)))
        elif outcome.probabilities is None:
            unanswered += 1
        else:
            answered.append((text, outcome))
    if len(answered) < _LEAST_ANSWERED * len(texts):
        raise ConfigError(
            f"only {len(answered)} of {len(texts)} texts have a usable prediction; run streamlabel"
            " check, and inspect some predictions with streamlabel classify"
        )
    return Answers(
        classifier.labels,
        classifier.identity,
        classifier.hints,
        tuple(text for text, _ in answered),
        tuple(prediction for _, prediction in answered),
        tuple(failed),
        unanswered,
    )
