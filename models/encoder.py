"""The encoder back end: a BERT-type model with a classification head, in this process."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from streamlabel.config.model import EncoderSettings
from streamlabel.errors import InferenceError, ModelError
from streamlabel.models.base import ModelInfo, Prediction, PreparedText
from streamlabel.models.checkpoint import open_checkpoint
from streamlabel.models.devices import (
    Device,
    choose_device,
    device_errors,
    let_threads_sleep,
    library_versions,
    limit_threads,
)
from streamlabel.models.digest import model_digest
from streamlabel.models.encoder_loading import load_forward, load_rows
from streamlabel.models.labels import LabelSet
from streamlabel.models.packed import PackedBert
from streamlabel.models.rows import Forward, RowBuilder, read_rows
from streamlabel.models.scores import Pool, pool_windows, probabilities

__all__ = ["EncoderClassifier", "load"]

# Matrix products of 1024 rows run at full speed on a CPU; more only makes texts wait for each
# other. An accelerator needs far more rows to be busy.
_CPU_BATCH_TOKENS = 1024
_ACCELERATOR_BATCH_TOKENS = 16_384

# While the service hears of a result and sends the next batch, the device has this one.
_QUEUED = 1

# Batches computed side by side on a CPU; on a machine of many cores they share caches and memory.
_MAX_STREAMS = 8


class EncoderClassifier:
    """Classifies with a model of this process; implements ``models.base.Classifier``.

    Tokenising and computing have threads of their own, so that the next texts are prepared while
    the device works, and the event loop does neither.

    Args:
        streams: batches computed side by side. On a CPU one batch per core beats one batch on all
            cores: nothing waits at the end of every operator for the slowest thread.
        threads: CPU threads of each stream.
    """

    def __init__(
        self,
        *,
        labels: LabelSet,
        info: ModelInfo,
        rows: RowBuilder,
        forward: Forward,
        device: Device,
        window_pool: Pool = "mean",
        streams: int = 1,
        threads: int | None = None,
    ) -> None:
        self._labels = labels
        self._info = info
        self._rows = rows
        self._forward = forward
        self._device = device
        self._window_pool: Pool = window_pool
        self._tokenizer_thread = ThreadPoolExecutor(1, "tokenizer")
        self._streams = streams
        self._device_threads = ThreadPoolExecutor(
            streams, "device", initializer=_set_up_thread, initargs=(device, threads)
        )
        self._is_closed = False

    @property
    def labels(self) -> LabelSet:
        """The label set; the order of every probability tuple."""
        return self._labels

    @property
    def info(self) -> ModelInfo:
        """Which model this is."""
        return self._info

    @property
    def max_in_flight(self) -> int:
        """One batch per stream, and one queued: no stream waits for the event loop."""
        return self._streams + _QUEUED

    async def prepare(self, texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        """Tokenise; see ``models.base.Classifier``."""
        self._refuse_if_closed()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._tokenizer_thread, self._rows.build, list(texts))

    async def classify(self, prepared: Sequence[PreparedText]) -> list[Prediction | InferenceError]:
        """Compute; see ``models.base.Classifier``."""
        self._refuse_if_closed()
        if not prepared:
            return []
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._device_threads, self._classify, list(prepared))

    async def close(self) -> None:
        """Let the threads finish what they have; nothing queued is cancelled, it is answered."""
        self._is_closed = True
        for thread in (self._tokenizer_thread, self._device_threads):
            await asyncio.to_thread(thread.shutdown)

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise ModelError("the classifier is closed")

    def _classify(self, prepared: list[PreparedText]) -> list[Prediction | InferenceError]:
        with device_errors(self._device):
            logits = self._forward.logits(read_rows(prepared))  # (R, K)
        pooled = self._pool(logits, [text.rows for text in prepared])  # (N, K)
        usable = np.isfinite(pooled).all(axis=-1)
        with np.errstate(invalid="ignore"):  # unusable rows become errors below
            scored = probabilities(pooled, self._labels.problem_type)
        return [
            self._prediction(text, probability, scores)
            if is_usable
            else InferenceError("the model's logits are not finite")
            for text, is_usable, probability, scores in zip(
                prepared, usable, scored.tolist(), pooled.tolist(), strict=True
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
        )


def _set_up_thread(device: Device, threads: int | None) -> None:
    """Choose again in the thread that computes: CUDA's device and OpenMP's count are per thread."""
    device.use_here()
    limit_threads(threads)


def load(settings: EncoderSettings) -> EncoderClassifier:
    """Load the model of the settings; blocks for seconds.

    Raises:
        ConfigError: a setting does not fit the model or the machine.
        ModelLoadError: the model cannot be used; the message says why and what to do.
    """
    let_threads_sleep()
    checkpoint = open_checkpoint(settings)
    labels = checkpoint.label_set(settings)
    max_tokens = checkpoint.max_tokens(settings)
    with ThreadPoolExecutor(1, "digest") as beside:
        digest = beside.submit(model_digest, checkpoint.folder, labels)
        rows = load_rows(checkpoint, settings, max_tokens)
        device = choose_device(settings.device)
        threads = limit_threads(settings.threads)
        forward, way = load_forward(checkpoint, settings, device, rows, labels)
        is_packed = isinstance(forward, PackedBert)
        streams = min(threads, _MAX_STREAMS) if is_packed else 1
        info = ModelInfo(
            name=checkpoint.name,
            backend="encoder",
            device=device.name,
            dtype=way.dtype,
            digest=digest.result(),
            max_tokens=max_tokens,
            pads=not is_packed,
            batch_tokens=_CPU_BATCH_TOKENS if device.kind == "cpu" else _ACCELERATOR_BATCH_TOKENS,
            queued=_QUEUED,
            versions=device.versions | library_versions("transformers", "tokenizers"),
            details={"forward": "packed" if is_packed else "padded"}
            | ({"threads": str(threads), "streams": str(streams)} if device.kind == "cpu" else {})
            | ({"exact_layers": str(way.exact_layers)} if is_packed else {}),
        )
    return EncoderClassifier(
        labels=labels,
        info=info,
        rows=rows,
        forward=forward,
        device=device,
        window_pool=settings.window_pool,
        streams=streams,
        threads=threads // streams,
    )
