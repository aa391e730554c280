"""Asks the configured model about labelled texts, as the service would ask it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamlabel.config.settings import BatchingSettings
from streamlabel.consumer.batching import MicroBatcher
from streamlabel.consumer.routing import Router
from streamlabel.errors import ConfigError, InferenceError
from streamlabel.models.base import Classifier, ModelInfo, Prediction, PreparedText
from streamlabel.models.calibration import log_scores_of
from streamlabel.models.labels import LabelSet
from streamlabel.quality.labelled import LabelledText

__all__ = ["Answers", "ask"]

_PREPARE_ITEMS = 256
# Below this share of answers something is wrong with the model, and the rest is no fair sample.
_LEAST_ANSWERED = 0.5


@dataclass(frozen=True, slots=True)
class Answers:
    """What the model said about the texts that it could answer.

    Attributes:
        texts: with an answer, in the order of the file.
        predictions: one a text.
        failed: (line, why) of texts that the model raised on.
        unanswered: texts without a usable answer; they always go to review.
    """

    labels: LabelSet
    info: ModelInfo
    texts: tuple[LabelledText, ...]
    predictions: tuple[Prediction, ...]
    failed: tuple[tuple[int, str], ...]
    unanswered: int

    @property
    def log_scores(self) -> NDArray[np.float64]:
        """What calibration works on, (N, K)."""
        problem = self.labels.problem_type
        return np.array([log_scores_of(p, problem) for p in self.predictions], dtype=np.float64)

    @property
    def truth(self) -> NDArray[np.bool_]:
        """Which labels are right, (N, K)."""
        names = self.labels.names
        return np.array([[name in text.labels for name in names] for text in self.texts])

    def is_open(self, router: Router) -> NDArray[np.bool_]:
        """Return which texts (N,) nothing but their confidence could send to review."""
        doubts = [set(router.choose(p).reasons) - {"low_confidence"} for p in self.predictions]
        return np.array([not reasons for reasons in doubts], dtype=bool)


async def ask(
    classifier: Classifier,
    texts: Sequence[LabelledText],
    limits: BatchingSettings,
    *,
    on_done: Callable[[int, str], None],
) -> Answers:
    """Return the model's answers.

    Args:
        classifier: the model, loaded; the caller closes it.
        texts: labelled.
        limits: of a batch.
        on_done: told how many are done, and a note.

    Raises:
        ConfigError: the model answers fewer than half of them.
        ModelError: it gave up.
    """
    found: dict[int, Prediction | InferenceError] = {}
    info = classifier.info
    batcher: MicroBatcher[tuple[int, PreparedText]] = MicroBatcher(
        max_tokens=limits.max_batch_tokens or info.batch_tokens,
        max_items=limits.max_batch_items,
        pads=info.pads,
    )
    for start in range(0, len(texts), _PREPARE_ITEMS):
        chunk = [text.text for text in texts[start : start + _PREPARE_ITEMS]]
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
            f"the model gave a usable answer to {len(answered)} of {len(texts)} texts only; try"
            " streamlabel check, and look at some answers with streamlabel classify"
        )
    return Answers(
        classifier.labels,
        classifier.info,
        tuple(text for text, _ in answered),
        tuple(prediction for _, prediction in answered),
        tuple(failed),
        unanswered,
    )
