"""The encoder back end: a BERT-type model with a classification head, in this process."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from streamlabel.config.model import EncoderSettings
from streamlabel.errors import InferenceError
from streamlabel.models.core.classifier import BatchHints, ModelIdentity, Prediction, PreparedText
from streamlabel.models.core.labels import LabelSet
from streamlabel.models.core.probabilities import Floats, Pool, pool_windows, probabilities
from streamlabel.models.devices.device import (
    Device,
    choose_device,
    device_errors,
    keep_freed_memory,
    let_threads_sleep,
    library_versions,
    limit_threads,
)
from streamlabel.models.devices.device_threads import QUEUED, DeviceThreads
from streamlabel.models.encoder.loading import load_forward
from streamlabel.models.encoder.packed_forward import PackedForward
from streamlabel.models.encoder.words import build_rows, load_words
from streamlabel.models.files.checkpoint import open_checkpoint
from streamlabel.models.files.digest import model_digest
from streamlabel.models.files.trained_length import length_details
from streamlabel.models.tokens.rows import Forward, TextRows, read_rows, read_types

__all__ = ["EncoderClassifier", "EncoderParts", "load", "open_encoder"]

# Matrix products of 1024 rows run at full speed on a CPU; more rows only add latency. An
# accelerator needs far more rows for full utilisation.
_CPU_BATCH_TOKENS = 1024
_ACCELERATOR_BATCH_TOKENS = 16_384

# Maximum number of batches computed concurrently on a CPU: on a machine with many cores they
# compete for caches and memory bandwidth.
_MAX_STREAMS = 8


class EncoderClassifier:
    """Classifies with a model in this process; implements ``Classifier``.

    Tokenising and computing run in separate threads, so that the next texts are prepared while the
    device computes, and the event loop is never blocked.

    Args:
        streams: batches computed concurrently. On a CPU one batch per core is faster than one batch
            on all cores, which would wait for the slowest thread after every operator.
        threads: CPU threads of each stream.
    """

    def __init__(
        self,
        *,
        labels: LabelSet,
        identity: ModelIdentity,
        hints: BatchHints,
        rows: TextRows,
        forward: Forward,
        device: Device,
        window_pool: Pool = "mean",
        streams: int = 1,
        threads: int | None = None,
    ) -> None:
        self._labels = labels
        self._identity = identity
        self._hints = hints
        self._rows = rows
        self._forward = forward
        self._device = device
        self._window_pool: Pool = window_pool
        self._threads = DeviceThreads(device, threads, streams=streams)

    @property
    def labels(self) -> LabelSet:
        """The label set; the order of every probability tuple."""
        return self._labels

    @property
    def identity(self) -> ModelIdentity:
        """The identity of the model."""
        return self._identity

    @property
    def hints(self) -> BatchHints:
        """How its batches should be formed."""
        return self._hints

    async def prepare(self, texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        """Tokenise; see ``Classifier``."""
        return await self._threads.tokenize(partial(self._rows.build, list(texts)))

    async def classify(self, prepared: Sequence[PreparedText]) -> list[Prediction | InferenceError]:
        """Compute; see ``Classifier``."""
        self._threads.refuse_if_closed()
        if not prepared:
            return []
        return await self._threads.compute(partial(self._classify, list(prepared)))

    async def close(self) -> None:
        """Let the threads finish; queued batches are still classified, not cancelled."""
        await self._threads.close()

    def _classify(self, prepared: list[PreparedText]) -> list[Prediction | InferenceError]:
        with device_errors(self._device):
            logits = self._forward.logits(read_rows(prepared), read_types(prepared))  # (R, K)
        return self._answers(prepared, self._pool(logits, [text.rows for text in prepared]))

    def _answers(
        self, prepared: Sequence[PreparedText], logits: Floats
    ) -> list[Prediction | InferenceError]:
        """Return what the logits (N, K) of the texts mean."""
        usable = np.asarray(np.isfinite(logits).all(axis=-1))
        with np.errstate(invalid="ignore"):  # unusable rows become errors below
            scored = probabilities(logits, self._labels.problem_type)
        return [
            self._prediction(text, probability, scores)
            if is_usable
            else InferenceError("the model's logits are not finite")
            for text, is_usable, probability, scores in zip(
                prepared, usable, scored.tolist(), logits.tolist(), strict=True
            )
        ]

    def _pool(self, logits: NDArray[np.float32], counts: list[int]) -> NDArray[np.floating]:
        if len(logits) == len(counts):
            return logits
        ends = np.cumsum(counts)
        return np.stack(
            [
                pool_windows(logits[end - count : end], self._window_pool)
                for end, count in zip(ends, counts, strict=True)
            ]
        )

    def _prediction(
        self, text: PreparedText, probability: list[float], scores: list[float]
    ) -> Prediction:
        to_review = text.truncated and self._rows.policy.long_text == "review"
        return Prediction(
            probabilities=tuple(probability),
            log_scores=tuple(scores),
            truncated=text.truncated,
            review_reasons=("truncated",) if to_review else (),
            unknown_share=text.unknown_share,
            is_unreadable=text.is_unreadable,
        )


class EncoderParts(TypedDict):
    """The arguments of EncoderClassifier."""

    labels: LabelSet
    identity: ModelIdentity
    hints: BatchHints
    rows: TextRows
    forward: Forward
    device: Device
    window_pool: Pool
    streams: int
    threads: int


def load(settings: EncoderSettings) -> EncoderClassifier:
    """Load the model of the settings; blocks for seconds. Raises what ``open_encoder`` raises."""
    return EncoderClassifier(**open_encoder(settings))


def open_encoder(settings: EncoderSettings) -> EncoderParts:
    """Load and check a model, and return the parts of its classifier.

    Raises:
        ConfigError: a setting does not fit the model or the machine.
        ModelLoadError: the model cannot be used; the message says why and what to do.
    """
    let_threads_sleep()
    checkpoint = open_checkpoint(settings)
    labels = checkpoint.label_set(settings)
    weights = checkpoint.weights()
    with ThreadPoolExecutor(1, "digest") as beside:
        digest = beside.submit(model_digest, checkpoint.folder, labels, weights=weights.paths)
        words = load_words(checkpoint, pairs=settings.conversations)
        device = choose_device(settings.device)
        threads = limit_threads(settings.threads)
        loaded = load_forward(checkpoint, settings, device, words, labels)
        forward, choice, max_tokens = loaded.forward, loaded.choice, loaded.max_tokens
        way = choice.way
        if device.kind == "cpu":
            keep_freed_memory()
        rows = build_rows(words, settings, max_tokens)
        is_packed = isinstance(forward, PackedForward)
        streams = min(threads, _MAX_STREAMS) if is_packed and device.kind == "cpu" else 1
        identity = ModelIdentity(
            name=checkpoint.name,
            backend="encoder",
            device=device.name,
            dtype=way.dtype,
            digest=digest.result(),
            versions=device.versions | library_versions("transformers", "tokenizers"),
            details={
                "forward": "packed" if is_packed else "padded",
                "company": loaded.company,
                "weights": ", ".join(path.name for path in weights.paths[:4]),
            }
            | length_details([checkpoint.folder])
            | ({"threads": str(threads), "streams": str(streams)} if device.kind == "cpu" else {})
            | ({"exact_layers": str(way.exact_layers)} if is_packed else {})
            | ({"precision": choice.why} if choice.why else {})
            | (
                {}
                if choice.difference is None
                else {"precision_difference": f"{choice.difference:.6f}"}
            ),
        )
    hints = BatchHints(
        max_in_flight=streams + QUEUED,  # no stream waits for the event loop
        queued=QUEUED,
        batch_tokens=_CPU_BATCH_TOKENS if device.kind == "cpu" else _ACCELERATOR_BATCH_TOKENS,
        max_tokens=max_tokens,
        pads=not is_packed,
        prepared_by=rows.digest,
    )
    return EncoderParts(
        labels=labels,
        identity=identity,
        hints=hints,
        rows=rows,
        forward=forward,
        device=device,
        window_pool=settings.window_pool,
        streams=streams,
        threads=threads // streams,
    )
