"""Encoders with the same trunk, computed in one pass: one tokenizer, one trunk, a head for each."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Unpack

import numpy as np

from streamlabel.config.model import EncoderSettings
from streamlabel.errors import InferenceError, NotJoinedError
from streamlabel.models.core.classifier import ModelIdentity, Prediction, PreparedText
from streamlabel.models.core.joint import Head, spans
from streamlabel.models.core.labels import LabelSet
from streamlabel.models.core.probabilities import Floats, probabilities
from streamlabel.models.encoder.classifier import EncoderClassifier, EncoderParts, open_encoder
from streamlabel.models.encoder.packed_forward import PackedForward
from streamlabel.models.encoder.packed_weights import Unpacked
from streamlabel.models.encoder.trunk import trunk_digest
from streamlabel.models.files.checkpoint import open_checkpoint

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["JointEncoder", "load_joint"]


class JointEncoder(EncoderClassifier):
    """Computes several heads on one trunk; implements ``Classifier`` and ``Joint``.

    Args:
        heads: the models, in the order of the forward pass's logits.
        parts: of the classifier; the forward pass gives the logits of all heads in a row.
    """

    def __init__(self, heads: Sequence[Head], **parts: Unpack[EncoderParts]) -> None:
        super().__init__(**parts)
        self._heads = tuple(heads)
        self._spans = spans(heads)

    @property
    def heads(self) -> tuple[Head, ...]:
        """The models, in the order of their probabilities."""
        return self._heads

    def _answers(
        self, prepared: Sequence[PreparedText], logits: Floats
    ) -> list[Prediction | InferenceError]:
        """Return joint predictions; a head without a usable answer has NaN in its place."""
        scored: NDArray[np.float64] = np.empty(logits.shape)  # (N, sum of K)
        for head, span in zip(self._heads, self._spans, strict=True):
            usable = np.isfinite(logits[:, span]).all(axis=-1)
            with np.errstate(invalid="ignore"):
                scored[:, span] = probabilities(logits[:, span], head.labels.problem_type)
            scored[~usable, span] = np.nan
        return [
            self._prediction(text, probability, scores)
            for text, probability, scores in zip(
                prepared, scored.tolist(), logits.tolist(), strict=True
            )
        ]


def load_joint(settings: Sequence[EncoderSettings]) -> JointEncoder:
    """Load models that share a trunk; blocks for seconds. Each is checked as if it were alone.

    Args:
        settings: of the models; equal but for path, revision, labels and problem type.

    Raises:
        NotJoinedError: they cannot be computed together; each can be loaded alone.
        ConfigError, ModelLoadError: one of them cannot be loaded.
    """
    with ThreadPoolExecutor(1, "digest") as beside:
        trunks = beside.submit(_trunks, settings)
        first = open_encoder(settings[0])
        forward = _packed(first)
        heads, scores = [_head(first)], [*forward.heads]
        for each in settings[1:]:  # one after the other: the trunk of each is freed
            other = open_encoder(each)
            scores += _packed(other).heads
            heads.append(_head(other))
            _refuse_difference(first, other)
        if len(set(trunks.result())) > 1:
            raise NotJoinedError("the weights of their encoders differ")
    first["forward"] = forward.with_heads(scores)
    first["labels"] = _all_labels(heads)
    first["identity"] = _together(heads)
    return JointEncoder(heads, **first)


def _head(parts: EncoderParts) -> Head:
    return Head(parts["labels"], parts["identity"])


def _refuse_difference(first: EncoderParts, other: EncoderParts) -> None:
    """Refuse models that would not get the results that each gets alone."""
    ways = [
        f"{each.dtype} {each.details.get('exact_layers')}" for each in _identities(first, other)
    ]
    if len(set(ways)) > 1:
        raise NotJoinedError("the tests at start chose another precision for each")
    if first["hints"] != other["hints"]:
        raise NotJoinedError("their longest rows differ")


def _identities(*parts: EncoderParts) -> list[ModelIdentity]:
    return [each["identity"] for each in parts]


def _together(heads: Sequence[Head]) -> ModelIdentity:
    digest = hashlib.sha256("".join(head.identity.digest for head in heads).encode()).hexdigest()
    name = "+".join(head.identity.name for head in heads)
    return replace(heads[0].identity, name=name, digest=digest)


def _packed(parts: EncoderParts) -> PackedForward:
    forward = parts["forward"]
    if not isinstance(forward, PackedForward):
        raise NotJoinedError("transformers computes them, which has no trunk of its own")
    return forward


def _trunks(settings: Sequence[EncoderSettings]) -> list[str]:
    try:
        return [trunk_digest(open_checkpoint(each)) for each in settings]
    except Unpacked as error:
        raise NotJoinedError(str(error)) from error


def _all_labels(heads: Sequence[Head]) -> LabelSet:
    names = (f"{i}/{name}" for i, head in enumerate(heads) for name in head.labels.names)
    return LabelSet(tuple(names), "multi_label")
