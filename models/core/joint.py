"""Several models that are computed together: one prediction has the answers of all of them.

The probabilities and scores of a joint prediction are those of its models, one after the other.
Here they are separated again, so that each model is a ``Classifier`` of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Protocol, runtime_checkable

from streamlabel.errors import InferenceError
from streamlabel.models.core.classifier import (
    BatchHints,
    Classifier,
    ModelIdentity,
    Prediction,
    PreparedText,
)
from streamlabel.models.core.labels import LabelSet

__all__ = ["Head", "HeadClassifier", "Joint", "spans"]


@dataclass(frozen=True, slots=True)
class Head:
    """One of the models that are computed together."""

    labels: LabelSet
    identity: ModelIdentity


@runtime_checkable
class Joint(Protocol):
    """A classifier that computes several models; implemented beside ``Classifier``."""

    @property
    def heads(self) -> tuple[Head, ...]:
        """The models, in the order of their probabilities; none: it is a single model."""
        ...


def spans(heads: Sequence[Head]) -> list[slice]:
    """Return where the probabilities of each model are in those of a joint prediction."""
    found, start = [], 0
    for head in heads:
        found.append(slice(start, start + len(head.labels)))
        start += len(head.labels)
    return found


class HeadClassifier:
    """One model of a joint classifier; implements ``Classifier``.

    Args:
        joint: computes all of them.
        heads: all of them.
        number: which one this is.

    Attributes:
        joint: as given; models with the same one can be computed in one pass.
    """

    def __init__(self, joint: Classifier, heads: Sequence[Head], number: int) -> None:
        self.joint = joint
        self._head = heads[number]
        self._span = spans(heads)[number]

    @property
    def labels(self) -> LabelSet:
        """The label set of this model."""
        return self._head.labels

    @property
    def identity(self) -> ModelIdentity:
        """The identity of this model; the same as if it were computed alone."""
        return self._head.identity

    @property
    def hints(self) -> BatchHints:
        """How batches should be formed."""
        return self.joint.hints

    async def prepare(self, texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        """See ``Classifier``; what it returns suits every model of the joint classifier."""
        return await self.joint.prepare(texts)

    async def classify(self, prepared: Sequence[PreparedText]) -> list[Prediction | InferenceError]:
        """Compute all models, and return the predictions of this one."""
        answers = await self.joint.classify(prepared)
        return [each if isinstance(each, InferenceError) else self.own(each) for each in answers]

    async def close(self) -> None:
        """Close the joint classifier, and so all its models."""
        await self.joint.close()

    def own(self, answer: Prediction) -> Prediction | InferenceError:
        """Return what this model says, given the joint prediction.

        A model that has no answer for the text has NaN in its place; the others stand.
        """
        found, scores = answer.probabilities, answer.log_scores
        if found is None or scores is None or isnan(found[self._span.start]):
            return InferenceError("the model's logits are not finite")
        return Prediction(
            probabilities=found[self._span],
            log_scores=scores[self._span],
            truncated=answer.truncated,
            review_reasons=answer.review_reasons,
            unknown_share=answer.unknown_share,
            is_unreadable=answer.is_unreadable,
        )
