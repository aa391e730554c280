"""The contract that every back end implements: encoder, one-token LLM, prompted LLM, remote.

A text is *prepared* (tokenised, long-text policy applied) and then *classified*. The two steps are
separate because the batcher needs the token count of a text before it forms a batch, and because
preparing the next texts overlaps with classifying the current ones.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from streamlabel.errors import InferenceError
from streamlabel.models.core.labels import LabelSet
from streamlabel.models.core.values import value

__all__ = [
    "BatchHints",
    "Classifier",
    "ModelIdentity",
    "Prediction",
    "PreparedText",
    "Supervised",
]


@value
class PreparedText:
    """One text, ready for the device.

    Attributes:
        tokens: length of its longest row, in tokens, special tokens included; >= 1.
        rows: number of rows in a batch: 1, or the number of windows of a long text.
        truncated: the model will not see all of the text.
        payload: data of the back end that prepared the text; must be picklable, and is opaque to
            all others.
        unknown_share: as in ``models.tokens.seen.Seen``; None if the tokenizer has no unknown token
            or the back end has no access to the tokenizer.
        is_unreadable: the tokenizer recognized nothing of the text.
    """

    tokens: int
    payload: Any
    rows: int = 1
    truncated: bool = False
    unknown_share: float | None = None
    is_unreadable: bool = False


@value
class Prediction:
    """The output of the model for one text.

    Attributes:
        probabilities: shape (K,), in LabelSet order, uncalibrated. single_label: sums to 1;
            multi_label: each in [0, 1] on its own. None if the model gave no usable answer;
            such a record always goes to review.
        log_scores: shape (K,), what calibration works on: logits of an encoder (their softmax or
            sigmoid is ``probabilities``), log-probabilities of an LLM. None with ``probabilities``.
        truncated: the model did not see all of the text.
        unknown_share: in [0, 1], copied from PreparedText.
        is_unreadable: copied from PreparedText: the prediction does not depend on the text.
        review_reasons: values of ``consumer.routing.decision.ReviewReason`` set by the back end
            (``unparseable``, ``truncated`` under the ``review`` policy).
        off_label_mass: LLM: probability of tokens outside the label set, in [0, 1].
        argmax_is_label: LLM: whether the most probable first token belongs to a label.
        first_token_probability: LLM: probability of the first generated token, in [0, 1].
        off_label_token: LLM: the first generated token if it belongs to no label; at most 40
            characters.
        sum_error: prompted LLM: distance of the sum of scores from 100.
        lenient_reading: prompted LLM: what a lenient reading of the answer accepted: ``thinking``,
            ``fence``, ``number``, separated by commas.
        after_reasoning: LLM: the probabilities are those given the model's own reasoning; None: it
            did not reason.
        reasoning_tokens: its length; of several samples, the longest one's.
        reasoning_cut: it, or that of a sample, did not end by itself within its budget.
    """

    probabilities: tuple[float, ...] | None
    log_scores: tuple[float, ...] | None = None
    truncated: bool = False
    review_reasons: tuple[str, ...] = ()
    unknown_share: float | None = None
    is_unreadable: bool = False
    off_label_mass: float | None = None
    argmax_is_label: bool | None = None
    first_token_probability: float | None = None
    off_label_token: str | None = None
    sum_error: float | None = None
    lenient_reading: str | None = None
    after_reasoning: bool | None = None
    reasoning_tokens: int | None = None
    reasoning_cut: bool | None = None


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Identifies the model behind a decision; part of every output record and of calibrations.

    Attributes:
        name: as configured: a folder's last part or a hub id.
        backend: ``encoder``, ``generative``, ``vllm``, ``prompted``, ``remote`` or ``fake``.
        device: the device chosen, for example ``cpu`` or ``cuda:0``.
        dtype: numeric type of the weights on the device, for example ``float32``.
        digest: hex digest of weights, tokenizer and label names; equal digests, equal model.
        prompt_version: LLM: hash of the rendered prompt and the label tokens.
        versions: versions of the libraries that affect the numerical results.
        details: further facts that ``streamlabel check`` prints.
    """

    name: str
    backend: str
    device: str
    dtype: str
    digest: str
    prompt_version: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BatchHints:
    """How batches for a model should be formed; does not affect its predictions.

    Attributes:
        max_in_flight: batches it wants at the same time: 1 or 2 for an encoder, many for vLLM.
        queued: how many of these only wait in the queue of the device.
        batch_tokens: token budget that suits the device; used if ``batching.max_batch_tokens`` is
            not set.
        max_tokens: longest row the model takes, special tokens included; None if unlimited.
        pads: rows of a batch are padded to the longest; False: packed, or scheduled token by token.
        prepared_by: digest of everything that ``prepare`` depends on. Models with the same one make
            equal PreparedTexts of a text, so that one of them prepares it for all. None: the
            payload is of no use to another model.
    """

    max_in_flight: int = 1
    queued: int = 0
    batch_tokens: int = 4096
    max_tokens: int | None = None
    pads: bool = True
    prepared_by: str | None = None


class Classifier(Protocol):
    """Classifies texts; implemented by every back end and by the proxy of the worker process.

    ``prepare`` and ``classify`` may run concurrently; neither may block the event loop.
    """

    @property
    def labels(self) -> LabelSet:
        """The label set; the order of every probability tuple."""
        ...

    @property
    def identity(self) -> ModelIdentity:
        """The identity of the model; constant for the lifetime of the classifier."""
        ...

    @property
    def hints(self) -> BatchHints:
        """How its batches should be formed."""
        ...

    async def prepare(self, texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        """Return one PreparedText per text, or an InferenceError for that text alone.

        Same order and length as ``texts``. Accepts any str: lone surrogates, control characters,
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


@runtime_checkable
class Supervised(Protocol):
    """A classifier in a worker process that is restarted, within limits, when it is lost."""

    @property
    def is_up(self) -> bool:
        """Whether a call would be accepted immediately."""
        ...

    async def until_up(self) -> None:
        """Wait until the process has restarted; also return when restarting has been given up."""
        ...

    def search(self) -> AbstractContextManager[None]:
        """While failure isolation looks for a text that ends the process, do not count losses."""
        ...

    def forgive(self, loss: int) -> None:
        """Do not count a loss (``WorkerError.loss``), because a text caused it."""
        ...

    def renew(self, why: str) -> None:
        """Replace a process that runs but does not work; counts as a loss. ``why`` is a clause."""
        ...
