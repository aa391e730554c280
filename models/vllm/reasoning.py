"""Answers after reasoning on vLLM: the model reasons, then its answer is read exactly."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from streamlabel.config.engines import VllmSettings
from streamlabel.config.task import TaskSettings
from streamlabel.errors import ConfigError, InferenceError, ModelLoadError
from streamlabel.models.core.classifier import Prediction, PreparedText
from streamlabel.models.core.labels import LabelSet
from streamlabel.models.core.probes import PROBE
from streamlabel.models.label_scoring.after_reasoning import (
    Reasoned,
    Thought,
    compile_reasoned,
    predict_reasoned,
    thought,
)
from streamlabel.models.label_scoring.taught_prompt import refuse_other_prompt, tuned_folders
from streamlabel.models.llm.loading import causal_digest
from streamlabel.models.prompts.build_prompt import Prompt, build_prompt
from streamlabel.models.prompts.chat_template import Chat
from streamlabel.models.tokens.seen import with_seen
from streamlabel.models.vllm import proof
from streamlabel.models.vllm.answers import PromptRows
from streamlabel.models.vllm.opened import Opened, cached_tokens, prove_causal
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

__all__ = ["ReasoningReader", "open_reasoning"]


class ReasoningReader(PromptRows):
    """Lets the model reason, and reads the labels' probabilities after it.

    Args:
        prompt: of the task, up to the beginning of the reasoning.
        reasoned: what follows it.
        chat: decodes the token of an off-label answer, and knows what ends a turn.
        runtime: the engine.
        cached_tokens: tokens of the prompt that are computed once for all texts.
        reviews_truncated: truncated texts go to review.
        has_seeds: the engine can repeat a sample.
    """

    def __init__(
        self,
        *,
        prompt: Prompt,
        reasoned: Reasoned,
        chat: Chat,
        runtime: VllmRuntime,
        cached_tokens: int = 0,
        reviews_truncated: bool = False,
        has_seeds: bool = False,
    ) -> None:
        super().__init__(
            prompt,
            cached_tokens=cached_tokens,
            extra_tokens=reasoned.extra_tokens,
            rows=len(reasoned.heats),
        )
        self._reasoned = reasoned
        self._chat = chat
        self.runtime = runtime
        self._reviews_truncated = reviews_truncated
        self._has_seeds = has_seeds

    async def read(self, prepared: Sequence[PreparedText]) -> list[Prediction | InferenceError]:
        """Ask the engine, all texts at once; see Reader."""
        if not prepared:
            return []
        samples = len(self._reasoned.heats)
        prompts = [
            np.frombuffer(text.payload, dtype=np.int32).tolist()
            for text in prepared
            for _ in range(samples)
        ]
        thoughts = await self._think(prompts, len(prepared))
        paths = len(self._reasoned.reads.paths)
        rows = [
            row
            for prompt, found in zip(prompts, thoughts, strict=True)
            for row in self._reasoned.rows(prompt, found)
        ]
        wanted = [children for _ in prompts for children in self._reasoned.reads.children]
        firsts = await self.runtime.first_tokens(rows, wanted)
        by_sample = [firsts[i : i + paths] for i in range(0, len(firsts), paths)]
        outcomes: list[Prediction | InferenceError] = []
        for i, text in enumerate(prepared):
            of_text = slice(i * samples, (i + 1) * samples)
            reasons = ("truncated",) if text.truncated and self._reviews_truncated else ()
            try:
                outcome: Prediction | InferenceError = predict_reasoned(
                    self._reasoned,
                    thoughts[of_text],
                    by_sample[of_text],
                    truncated=text.truncated,
                    review_reasons=reasons,
                    decode=self._chat.tokens.decode,
                )
            except InferenceError as error:
                outcome = error
            outcomes.append(outcome)
        return with_seen(prepared, outcomes)

    async def probabilities(
        self, rows: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]]
    ) -> Sequence[Probabilities]:
        """Return those of the next token; see Reader."""
        return await self.runtime.token_probabilities(rows, wanted)

    async def _think(self, prompts: Sequence[Sequence[int]], texts: int) -> list[Thought]:
        """Return one reasoning for each prompt; without a budget, empty ones."""
        if not self._reasoned.limit:
            return [Thought((), is_cut=True) for _ in prompts]
        written = await self.runtime.think(
            prompts,
            max_tokens=self._reasoned.limit,
            stop=self._reasoned.stop,
            heats=self._reasoned.heats * texts,
            # the same for the same sample of every text, so that a text has the same answer again
            seeds=[
                i if self._has_seeds and heat else None
                for i, heat in enumerate(self._reasoned.heats)
            ]
            * texts,
        )
        ends = self._chat.end_ids
        return [thought(tokens, stop=self._reasoned.stop, ends=ends) for tokens in written]


def open_reasoning(settings: VllmSettings) -> Opened:
    """Start an engine for answers after reasoning.

    It is proved, and watched, with reasonings that are ended at once: those of a model differ by
    rounding, so its answers after them do not show whether the engine works.

    Raises:
        ConfigError: a setting or the task does not fit the model or the platform.
        ModelLoadError: the engine does not start, or its results are unreliable.
    """
    task = task_of(settings)
    labels = LabelSet(task.names)
    checkpoint, chat = chat_of(settings)
    length = engine_length(checkpoint, settings, extra=1)
    extra = compile_reasoned(task, _prompt(task, chat, settings, length), chat).extra_tokens + 1
    length = engine_length(checkpoint, settings, extra=extra)
    if length <= extra:
        raise ConfigError(
            f"model.task.reasoning.max_tokens: reasoning and answer may take {extra} of the"
            f" model's {length} tokens, which leaves none for a text; lower it"
        )
    prompt = _prompt(task, chat, settings, length - extra)
    reasoned = compile_reasoned(task, prompt, chat)
    version = reasoned.version(prompt)
    refuse_other_prompt(tuned_folders(checkpoint.folder, settings.adapter), version)
    with ThreadPoolExecutor(1, "digest") as beside:
        digest = beside.submit(causal_digest, checkpoint, labels, settings.adapter)
        question = question_of(prompt, wanted=reasoned.reads.children[0])
        engine = start_engine(settings, checkpoint, Plan(length, question))
        with closed_on_error(engine):
            engine.require_label_ids("model.task.reasoning: it needs", remedy="remove it")

            def reader(what: Reasoned) -> ReasoningReader:
                return ReasoningReader(
                    prompt=prompt,
                    reasoned=what,
                    chat=chat,
                    runtime=engine.runtime,
                    cached_tokens=cached_tokens(engine, prompt),
                    reviews_truncated=settings.long_text == "review",
                    has_seeds=engine.capabilities.platform != "cpu",
                )

            at_once = reader(replace(reasoned, limit=0))
            proof.prove_ids(engine.runtime, prompt.encode("1").ids, reasoned.reads.children[0])
            seen, details = prove_causal(engine, at_once, prompt)
            full = reader(reasoned)
            return Opened(
                labels,
                engine.identity(
                    checkpoint,
                    digest=digest.result(),
                    prompt_version=version,
                    details=details | {"scoring": task.scoring, "reasoning": _probe(full)},
                ),
                engine.hints(max_in_flight=settings.max_in_flight, max_tokens=length),
                full,
                engine,
                seen[0].probabilities or (),
                canary=at_once,
            )


def _prompt(task: TaskSettings, chat: Chat, settings: VllmSettings, max_tokens: int) -> Prompt:
    return build_prompt(
        task,
        answers="one_token",
        render=chat.render,
        tokenizer=chat.tokens,
        max_tokens=max_tokens,
        keep=keep_of(settings),
    )


def _probe(reader: ReasoningReader) -> str:
    """Reason about a fixed text; return what happened, for ``streamlabel check``."""
    (text,) = reader.prepare([PROBE])
    outcome: Prediction | InferenceError
    try:
        if isinstance(text, InferenceError):
            raise text
        (outcome,) = reader.runtime.call(reader.read([text]))
        if isinstance(outcome, InferenceError):
            raise outcome
    except InferenceError as error:
        raise ModelLoadError(
            f"model.task.reasoning: the model cannot reason on this engine: {error}; lower"
            " max_tokens, or raise model.request_timeout_s"
        ) from error
    cut = ", cut" if outcome.reasoning_cut else ""
    return f"{outcome.reasoning_tokens} tokens about a fixed text{cut}"
