"""Policies on vLLM: one request for each, with what they have in common in the prefix cache."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from streamlabel.config.engines import VllmSettings
from streamlabel.errors import InferenceError
from streamlabel.models.core.classifier import Prediction, PreparedText
from streamlabel.models.label_scoring.answer import FirstToken
from streamlabel.models.label_scoring.policy_answers import (
    AskedPolicies,
    compile_policies,
    labels_of,
)
from streamlabel.models.label_scoring.taught_prompt import refuse_other_prompt, tuned_folders
from streamlabel.models.llm.loading import causal_digest
from streamlabel.models.prompts.chat_template import Chat
from streamlabel.models.tokens.seen import with_seen
from streamlabel.models.vllm import proof
from streamlabel.models.vllm.opened import Opened, prove_causal
from streamlabel.models.vllm.plain_forward import Probabilities
from streamlabel.models.vllm.plan import (
    chat_of,
    closed_on_error,
    engine_length,
    keep_of,
    question_of,
    task_of,
)
from streamlabel.models.vllm.runtime import VllmRuntime
from streamlabel.models.vllm.start import Plan, start_engine

__all__ = ["PolicyRequests", "open_policies"]


class PolicyRequests:
    """Reads the probabilities of policies; implements ``reader.Reader``.

    A payload has one row per policy, as bytes of int32.

    Args:
        asked: prompts and reads.
        chat: decodes the token of an off-label answer.
        runtime: the engine.
        shares_text: the engine has a prefix cache, so that a text that precedes the policies is
            computed once.
        reviews_truncated: truncated texts go to review.
    """

    def __init__(
        self,
        *,
        asked: AskedPolicies,
        chat: Chat,
        runtime: VllmRuntime,
        shares_text: bool,
        reviews_truncated: bool = False,
    ) -> None:
        self._asked = asked
        self._chat = chat
        self._runtime = runtime
        self._shares_text = shares_text and asked.prompts.text_first
        self._reviews_truncated = reviews_truncated

    def prepare(self, texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        """Return the prompts of each text."""
        return [self._prepare(text) for text in texts]

    def _prepare(self, text: str) -> PreparedText | InferenceError:
        try:
            found = self._asked.prompts.encode(text)
        except Exception as error:  # noqa: BLE001 tokenizers raises bare Exception
            return InferenceError(f"the tokenizer refuses this text: {type(error).__name__}")
        saved = found.common if self._shares_text else 0
        rest = sum(len(row) - saved for row in found.rows)
        width = len(self._asked.paths)
        return PreparedText(
            tokens=max(1, -(-(saved + rest) // width) + self._asked.longest_path),
            payload=[np.array(row, dtype=np.int32).tobytes() for row in found.rows],
            rows=width,
            truncated=found.truncated,
            unknown_share=found.seen.unknown_share,
            is_unreadable=found.seen.is_unreadable,
        )

    async def read(self, prepared: Sequence[PreparedText]) -> list[Prediction | InferenceError]:
        """Ask the engine, all policies of a text before those of the next; see Reader.

        The engine takes requests in this order and finds in its prefix cache what an earlier one
        has begun to compute, also in the same step. Any other order needs a cache for all texts of
        a batch, or each text is computed again for every policy.
        """
        reads = [(i, column) for i in range(len(prepared)) for column in range(self._width)]
        found = await self._ask(prepared, reads) if reads else {}
        outcomes = [
            self._predict(text, [found[i, column] for column in range(self._width)])
            for i, text in enumerate(prepared)
        ]
        return with_seen(prepared, outcomes)

    async def probabilities(
        self, rows: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]]
    ) -> Sequence[Probabilities]:
        """Return those of the next token; see Reader."""
        return await self._runtime.token_probabilities(rows, wanted)

    @property
    def _width(self) -> int:
        return len(self._asked.paths)

    async def _ask(
        self, prepared: Sequence[PreparedText], reads: Sequence[tuple[int, int]]
    ) -> dict[tuple[int, int], FirstToken]:
        """Return the result of each read: (place of the text, number of the read)."""
        rows, wanted = [], []
        for i, column in reads:
            place, path, children = self._asked.paths[column]
            prompt = np.frombuffer(prepared[i].payload[place], dtype=np.int32).tolist()
            rows.append([*prompt, *path])
            wanted.append(children)
        firsts = await self._runtime.first_tokens(rows, wanted)
        return dict(zip(reads, firsts, strict=True))

    def _predict(
        self, text: PreparedText, firsts: Sequence[FirstToken]
    ) -> Prediction | InferenceError:
        to_review = text.truncated and self._reviews_truncated
        try:
            return self._asked.predict(
                firsts,
                truncated=text.truncated,
                review_reasons=("truncated",) if to_review else (),
                decode=self._chat.tokens.decode,
            )
        except InferenceError as error:
            return error


def open_policies(settings: VllmSettings) -> Opened:
    """Start an engine for the policies of the task.

    Raises:
        ConfigError: a setting or the task does not fit the model or the platform.
        ModelLoadError: the engine does not start, or its results are unreliable.
    """
    task = task_of(settings)
    labels = labels_of(task)
    checkpoint, chat = chat_of(settings)
    length = engine_length(checkpoint, settings, extra=1)
    asked = compile_policies(task, chat, max_tokens=length - 1, keep=keep_of(settings))
    refuse_other_prompt(tuned_folders(checkpoint.folder, settings.adapter), asked.version)
    with ThreadPoolExecutor(1, "digest") as beside:
        digest = beside.submit(causal_digest, checkpoint, labels, settings.adapter)
        question = question_of(*asked.prompts.prompts, wanted=asked.wanted)
        engine = start_engine(settings, checkpoint, Plan(length, question))
        with closed_on_error(engine):
            engine.require_label_ids(
                "model.task.policies: they need", remedy="ask one question a task"
            )
            reader = PolicyRequests(
                asked=asked,
                chat=chat,
                runtime=engine.runtime,
                shares_text=bool(engine.block_tokens),
                reviews_truncated=settings.long_text == "review",
            )
            first = asked.prompts.prompts[0]
            proof.prove_ids(engine.runtime, first.encode("1").ids, asked.reads[0].children[0])
            seen, details = prove_causal(engine, reader, first)
            shared = "text" if asked.prompts.text_first else "policy"
            return Opened(
                labels,
                engine.identity(
                    checkpoint,
                    digest=digest.result(),
                    prompt_version=asked.version,
                    details=details | {"scoring": task.scoring, "policies_share": shared},
                ),
                engine.hints(max_in_flight=settings.max_in_flight, max_tokens=first.max_tokens),
                reader,
                engine,
                seen[0].probabilities or (),
            )
