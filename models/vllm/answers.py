"""Texts to prompts to label probabilities on vLLM: from the first token, or with a head."""

import asyncio
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from streamlabel.errors import InferenceError
from streamlabel.models.core.classifier import Prediction, PreparedText
from streamlabel.models.label_scoring.answer import FirstToken, from_label_scores, log_sum_exp
from streamlabel.models.label_scoring.label_reads import LabelReads, predict
from streamlabel.models.label_scoring.label_tokens import LabelTokens
from streamlabel.models.label_scoring.top_k import predict_bounded
from streamlabel.models.prompts.build_prompt import Prompt
from streamlabel.models.prompts.chat_template import Chat
from streamlabel.models.tokens.seen import with_seen
from streamlabel.models.vllm.plain_forward import Probabilities
from streamlabel.models.vllm.runtime import VllmRuntime

__all__ = ["FirstTokenReader", "HeadReader", "PromptRows"]

Logits = NDArray[np.float32]


class PromptRows:
    """Texts to prompts; the payload is the row as bytes of int32.

    Args:
        cached_tokens: tokens in the prefix cache; not counted in a batch's token budget.
        extra_tokens: maximum number of tokens that are appended to a prompt.
        rows: requests per text.
    """

    def __init__(
        self, prompt: Prompt, *, cached_tokens: int = 0, extra_tokens: int = 0, rows: int = 1
    ) -> None:
        self._prompt = prompt
        self._cached_tokens = cached_tokens
        self._extra_tokens = extra_tokens
        self._rows = rows

    def prepare(self, texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        """Return the prompt of each text."""
        return [self._prepare(text) for text in texts]

    def _prepare(self, text: str) -> PreparedText | InferenceError:
        try:
            encoded = self._prompt.encode(text)
        except InferenceError as error:  # of a conversation
            return error
        except Exception as error:  # noqa: BLE001 tokenizers raises bare Exception
            return InferenceError(f"the tokenizer refuses this text: {type(error).__name__}")
        cached = self._cached_tokens if encoded.is_shared else 0
        return PreparedText(
            tokens=max(1, len(encoded.ids) - cached + self._extra_tokens),
            payload=np.array(encoded.ids, dtype=np.int32).tobytes(),
            rows=self._rows,
            truncated=encoded.truncated,
            unknown_share=encoded.seen.unknown_share,
            is_unreadable=encoded.seen.is_unreadable,
        )


class FirstTokenReader(PromptRows):
    """Reads the labels' probabilities from the first token, exactly.

    Args:
        prompt: of the task.
        reads: the reads after the prompt.
        chat: decodes the token of an off-label answer.
        runtime: the engine.
        cached_tokens: tokens of the prompt that are computed once for all texts.
        reviews_truncated: truncated texts go to review.
        reads_by_id: False: the engine returns the top k tokens only.
    """

    def __init__(
        self,
        *,
        prompt: Prompt,
        reads: LabelReads,
        chat: Chat,
        runtime: VllmRuntime,
        cached_tokens: int = 0,
        reviews_truncated: bool = False,
        reads_by_id: bool = True,
    ) -> None:
        super().__init__(
            prompt,
            cached_tokens=cached_tokens,
            extra_tokens=max(map(len, reads.paths)),
            rows=len(reads.paths),
        )
        self.reads = reads
        self._chat = chat
        self._runtime = runtime
        self._reviews_truncated = reviews_truncated
        self._reads_by_id = reads_by_id

    async def probabilities(
        self, rows: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]]
    ) -> Sequence[Probabilities]:
        """Return those of the next token; see Reader."""
        return await self._runtime.token_probabilities(rows, wanted)

    async def read(self, prepared: Sequence[PreparedText]) -> list[Prediction | InferenceError]:
        """Ask the engine, all texts at once; see Reader."""
        if not prepared:
            return []
        prompts = [np.frombuffer(text.payload, dtype=np.int32).tolist() for text in prepared]
        width = len(self.reads.paths)
        firsts = await self._runtime.first_tokens(
            [[*prompt, *path] for prompt in prompts for path in self.reads.paths],
            [children for _ in prompts for children in self.reads.children],
        )
        outcomes = [
            self._predict(text, firsts[i * width : (i + 1) * width])
            for i, text in enumerate(prepared)
        ]
        return with_seen(prepared, outcomes)

    def _predict(
        self, text: PreparedText, firsts: Sequence[FirstToken]
    ) -> Prediction | InferenceError:
        to_review = text.truncated and self._reviews_truncated
        reasons = ("truncated",) if to_review else ()
        try:
            if not self._reads_by_id and isinstance(self.reads, LabelTokens):
                top = firsts[0].top_id
                return predict_bounded(
                    firsts[0].log_probabilities,
                    self.reads.forms,
                    top=top,
                    shown=self._chat.tokens.decode((top,)),
                    truncated=text.truncated,
                    review_reasons=reasons,
                )
            return predict(
                self.reads,
                firsts,
                truncated=text.truncated,
                review_reasons=reasons,
                decode=self._chat.tokens.decode,
            )
        except InferenceError as error:
            return error


class HeadReader(PromptRows):
    """Reads the labels' logits from a head made of rows of the output embedding matrix.

    Only the answers' logits are computed, so the off-label mass is unknown.

    Args:
        prompt: of the task.
        labels: the answers' tokens; the head has their rows in this order.
        after: what the model does to its logits after the output layer, which the engine's head
            leaves out: logits (R, U) -> logits (R, U). None: nothing.
        runtime: the engine, on the pooling runner.
        cached_tokens: see FirstTokenReader.
        reviews_truncated: truncated texts go to review.
    """

    def __init__(
        self,
        *,
        prompt: Prompt,
        labels: LabelTokens,
        runtime: VllmRuntime,
        after: Callable[[Logits], Logits] | None = None,
        cached_tokens: int = 0,
        reviews_truncated: bool = False,
    ) -> None:
        super().__init__(prompt, cached_tokens=cached_tokens)
        self._labels = labels
        self._after = after
        self._runtime = runtime
        self._reviews_truncated = reviews_truncated

    async def read(self, prepared: Sequence[PreparedText]) -> list[Prediction | InferenceError]:
        """Ask the engine, all texts at once; see Reader."""
        if not prepared:
            return []
        rows = [np.frombuffer(text.payload, dtype=np.int32).tolist() for text in prepared]
        logits = await self._logits(rows)
        await asyncio.sleep(0)  # let other tasks run before the predictions of a large batch
        outcomes = [self._predict(*pair) for pair in zip(prepared, logits, strict=True)]
        return with_seen(prepared, outcomes)

    async def probabilities(
        self, rows: Sequence[Sequence[int]], _wanted: Sequence[Sequence[int]]
    ) -> list[dict[int, float]]:
        """Return the probabilities of the labels' tokens among themselves, after each row."""
        return [
            dict(
                zip(
                    self._labels.ids, np.exp(np.array(row) - log_sum_exp(row)).tolist(), strict=True
                )
            )
            for row in await self._logits(rows)
        ]

    async def _logits(self, rows: Sequence[Sequence[int]]) -> list[list[float]]:
        logits = await self._runtime.logits(rows)
        if self._after and {*map(len, logits)} == {len(self._labels.ids)}:
            after: list[list[float]] = self._after(np.array(logits, dtype=np.float32)).tolist()
            return after
        return logits

    def _predict(self, text: PreparedText, logits: list[float]) -> Prediction | InferenceError:
        if len(logits) != len(self._labels.ids):
            return InferenceError(f"the head has {len(logits)} outputs; this is a bug")
        total = log_sum_exp(logits) if np.isfinite(logits).all() else 0.0
        by_token = dict(zip(self._labels.ids, logits, strict=True))
        scores = [log_sum_exp([by_token[t] - total for t in ids]) for ids in self._labels.forms]
        to_review = text.truncated and self._reviews_truncated
        try:
            answer = from_label_scores(
                scores, argmax_is_label=True, top_log_probability=max(scores)
            )
        except InferenceError as error:
            return error
        return Prediction(
            answer.probabilities,
            answer.log_scores,
            truncated=text.truncated,
            review_reasons=("truncated",) if to_review else (),
        )
