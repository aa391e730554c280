"""BERT-type encoders on vLLM's pooling runner: texts to rows to the head's logits."""

from collections.abc import Sequence

import numpy as np

from streamlabel.config.engines import VllmSettings
from streamlabel.config.model import EncoderSettings
from streamlabel.errors import InferenceError
from streamlabel.models.core.classifier import Prediction, PreparedText
from streamlabel.models.core.labels import LabelSet
from streamlabel.models.core.probabilities import Pool, pool_windows, probabilities
from streamlabel.models.files.checkpoint import Checkpoint
from streamlabel.models.tokens.rows import TextRows, read_rows
from streamlabel.models.vllm.plain_forward import Probabilities
from streamlabel.models.vllm.runtime import VllmRuntime

__all__ = ["EncoderReader", "as_encoder"]


class EncoderReader:
    """Tokenises like the encoder back end, so that both compute the same rows."""

    def __init__(
        self, *, rows: TextRows, labels: LabelSet, runtime: VllmRuntime, window_pool: Pool
    ) -> None:
        self._rows = rows
        self._window_pool: Pool = window_pool
        self._labels = labels
        self._runtime = runtime

    def prepare(self, texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        """Return the rows of each text; truncation keeps the special tokens."""
        return self._rows.build(texts)

    async def read(self, prepared: Sequence[PreparedText]) -> list[Prediction | InferenceError]:
        """Send all rows to the engine at once; see ``reader.Reader``."""
        if not prepared:
            return []
        logits = await self._runtime.logits([row.tolist() for row in read_rows(prepared)])
        outcomes: list[Prediction | InferenceError] = []
        start = 0
        for text in prepared:
            rows = np.array(logits[start : start + text.rows], dtype=np.float32)  # (W, K)
            start += text.rows
            outcomes.append(self._predict(text, rows))
        return outcomes

    async def probabilities(
        self, rows: Sequence[Sequence[int]], _wanted: Sequence[Sequence[int]]
    ) -> Sequence[Probabilities]:
        """Return those of the labels; see Reader."""
        of = self._labels.problem_type
        logits = [np.array(row, dtype=np.float32) for row in await self._runtime.logits(rows)]
        return [dict(enumerate(probabilities(row, of).tolist())) for row in logits]

    def _predict(
        self, text: PreparedText, rows: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    ) -> Prediction | InferenceError:
        if rows.shape[-1] != len(self._labels):
            return InferenceError(
                f"the model has {rows.shape[-1]} outputs for {len(self._labels)} labels"
            )
        if not np.isfinite(rows).all():
            return InferenceError("the model's logits are not finite")
        pooled = pool_windows(rows, self._window_pool)  # (K,)
        to_review = text.truncated and self._rows.policy.long_text == "review"
        return Prediction(
            tuple(probabilities(pooled, self._labels.problem_type).tolist()),
            tuple(pooled.tolist()),
            truncated=text.truncated,
            review_reasons=("truncated",) if to_review else (),
            unknown_share=text.unknown_share,
            is_unreadable=text.is_unreadable,
        )


def as_encoder(settings: VllmSettings, checkpoint: Checkpoint) -> EncoderSettings:
    """Convert the settings to those of the encoder back end."""
    own = checkpoint.max_tokens(
        EncoderSettings(path=settings.path), positions=checkpoint.likely_positions()
    )
    is_head = settings.long_text in {"head_tail", "head"}
    return EncoderSettings(
        path=settings.path,
        labels=settings.labels,
        max_tokens=min(own, settings.max_tokens),
        long_text="truncate" if is_head else settings.long_text,
        window_stride_tokens=settings.window_stride_tokens,
        window_pool=settings.window_pool,
        max_windows=settings.max_windows,
    )
