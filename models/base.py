"""The one contract of every way to classify: encoder, one-token LLM, prompted LLM, remote.

A text is *prepared* (tokenised, long-text policy applied) and then *classified*. The two steps
are apart because the batcher needs to know what the device will pay for a text before it chooses
the batch, and because preparing the next texts overlaps with classifying these.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from streamlabel.errors import InferenceError
from streamlabel.models.labels import LabelSet
from streamlabel.models.values import value

__all__ = ["Classifier", "ModelInfo", "Prediction", "PreparedText"]


@value
class PreparedText:
    """One text, ready for the device.

    Attributes:
        tokens: length of its longest row, in tokens, special tokens included; >= 1.
        rows: rows it takes in a batch: 1, or the number of windows of a long text.
        truncated: the model will not see all of the text.
        payload: what the back end that made it needs; must pickle. Nobody else looks inside.
    """

    tokens: int
    payload: Any
    rows: int = 1
    truncated: bool = False


@value
class Prediction:
    """What the model says about one text.

    Attributes:
        probabilities: shape (K,), in LabelSet order, uncalibrated. single_label: sums to 1;
            multi_label: each in [0, 1] on its own. None if the model gave no usable answer;
            such a record always goes to review.
        log_scores: shape (K,), what calibration works on: logits of an encoder (their softmax or
            sigmoid is ``probabilities``), log-probabilities of an LLM. None with ``probabilities``.
        truncated: the model did not see all of the text.
        review_reasons: reasons of ``consumer.decision.ReviewReason`` that the model itself found
            (``unparseable``, ``truncated`` under the ``review`` policy).
        off_label_mass: LLM: probability of tokens outside the label set, in [0, 1].
        argmax_is_label: LLM: whether the most probable first token belongs to a label.
        first_token_probability: LLM: probability of the first generated token, in [0, 1].
        off_label_token: LLM: the first token where it is no label; at most 40 characters.
        sum_error: prompted LLM: distance of the sum of scores from 100.
    """

    probabilities: tuple[float, ...] | None
    log_scores: tuple[float, ...] | None = None
    truncated: bool = False
    review_reasons: tuple[str, ...] = ()
    off_label_mass: float | None = None
    argmax_is_label: bool | None = None
    first_token_probability: float | None = None
    off_label_token: str | None = None
    sum_error: float | None = None


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Enough to say which model made a decision; goes into every output record.

    Attributes:
        name: as configured: a folder's last part or a hub id.
        backend: ``encoder``, ``generative``, ``vllm``, ``prompted``, ``remote`` or ``fake``.
        device: the device chosen, for example ``cpu`` or ``cuda:0``.
        dtype: numeric type of the weights on the device, for example ``float32``.
        digest: hex digest of weights, tokenizer and label names; equal digests, equal model.
        max_tokens: longest row the model takes, special tokens included; None if unlimited.
        pads: rows of a batch are padded to the longest; False: packed, or scheduled token by token.
        batch_tokens: tokens of a batch that suit the device; what ``batching.max_batch_tokens``
            is when it is not set.
        queued: of the batches it wants at the same time, how many only queue for the device.
        prompt_version: LLM: hash of the rendered prompt and the label tokens.
        versions: library versions that matter for the numbers.
        details: anything else worth a line in ``streamlabel check``.
    """

    name: str
    backend: str
    device: str
    dtype: str
    digest: str
    max_tokens: int | None = None
    pads: bool = True
    batch_tokens: int = 4096
    queued: int = 0
    prompt_version: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)


class Classifier(Protocol):
    """Classifies texts; implemented by every back end and by the proxy of the worker process.

    Both calls may run at the same time; neither may block the event loop.
    """

    @property
    def labels(self) -> LabelSet:
        """The label set; the order of every probability tuple."""
        ...

    @property
    def info(self) -> ModelInfo:
        """Which model this is."""
        ...

    @property
    def max_in_flight(self) -> int:
        """Batches it wants at the same time: 1 or 2 for an encoder, many for vLLM."""
        ...

    async def prepare(self, texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        """Return one PreparedText per text, or an InferenceError for that text alone.

        Same order and length as ``texts``. Any str is taken: lone surrogates, control characters,
        text of any length.
        """
        ...

    async def classify(self, prepared: Sequence[PreparedText]) -> list[Prediction | InferenceError]:
        """Return one Prediction per prepared text, or an InferenceError for that text alone.

        Same order and length as ``prepared``.

        Raises:
            InferenceError: the batch as a whole failed; the caller retries and splits it.
            DeviceMemoryError: the batch does not fit; the caller splits it and lowers the budget.
            WorkerError: the worker died or hung; the caller retries.
            WorkerGaveUpError: it died too often; the caller drains and exits.
        """
        ...

    async def close(self) -> None:
        """Release the device. Safe to call twice; later calls of the others raise ModelError."""
        ...
