"""Prompted scores on vLLM, with decoding guided by the form of the answer."""

import asyncio
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np

from streamlabel.config.engines import VllmSettings
from streamlabel.errors import ConfigError, InferenceError, ModelError, ModelLoadError
from streamlabel.models.core.classifier import BatchHints, ModelIdentity, PreparedText
from streamlabel.models.core.labels import LabelSet
from streamlabel.models.core.probes import PROBE
from streamlabel.models.devices.device_threads import OwnThreads
from streamlabel.models.llm.loading import causal_digest
from streamlabel.models.llm.prompted import PromptedClassifier
from streamlabel.models.llm.transformers_text import encode
from streamlabel.models.prompts.build_prompt import Prompt, build_prompt
from streamlabel.models.prompts.chat_template import Chat
from streamlabel.models.prompts.phrases import second_try
from streamlabel.models.prompts.score_json import Fault, Scores, answer_limit_tokens, parse, pattern
from streamlabel.models.vllm.plan import (
    chat_of,
    closed_on_error,
    engine_length,
    keep_of,
    question_of,
    task_of,
)
from streamlabel.models.vllm.runtime import VllmRuntime
from streamlabel.models.vllm.start import Engine, Plan, start_engine

__all__ = ["VllmPrompted", "VllmText", "open_prompted"]


class VllmText:
    """Greedy text from vLLM; implements ``models.llm.text_engine.TextEngine``."""

    def __init__(
        self,
        *,
        identity: ModelIdentity,
        hints: BatchHints,
        runtime: VllmRuntime,
        chat: Chat,
        prompts: dict[Fault | None, Prompt],
    ) -> None:
        self.identity = identity
        self.hints = hints
        self.runtime = runtime
        self._chat = chat
        self._prompts = prompts
        self._tokenizer = OwnThreads("tokenizer")

    async def encode(
        self, texts: Sequence[str], faults: Sequence[Fault | None]
    ) -> list[PreparedText | InferenceError]:
        """Render and tokenise; see TextEngine."""
        pairs = list(zip(texts, faults, strict=True))
        return await self._tokenizer.run(
            lambda: [encode(self._prompts[fault], text) for text, fault in pairs]
        )

    async def generate_text(
        self, prompts: Sequence[PreparedText], *, max_tokens: int, json_schema: dict[str, Any]
    ) -> list[str | InferenceError]:
        """Generate; see TextEngine."""
        rows = [np.frombuffer(prompt.payload, dtype=np.int32).tolist() for prompt in prompts]
        written = await self.runtime.write(
            rows,
            max_tokens=max_tokens,
            pattern=pattern(json_schema["required"]),
            end_ids=self._chat.end_ids,
        )
        return [self._chat.tokens.decode(tokens) for tokens in written]

    async def close(self) -> None:
        """End the engine's processes."""
        await self._tokenizer.close()
        await asyncio.to_thread(self.runtime.close)


class VllmPrompted(PromptedClassifier):
    """Prompted scores on an engine that may be lost."""

    def __init__(self, *, labels: LabelSet, engine: VllmText, reviews_truncated: bool) -> None:
        super().__init__(labels=labels, engine=engine, reviews_truncated=reviews_truncated)
        self._runtime = engine.runtime

    async def lost(self) -> str:
        """Wait until the engine is lost, and return the reason as a clause."""
        return await self._runtime.lost()


def open_prompted(settings: VllmSettings) -> tuple[VllmPrompted, Engine, Prompt]:
    """Start an engine for prompted scores and generate one answer as a test; blocks.

    Raises:
        ConfigError: a setting or the task does not fit the model or the platform.
        ModelLoadError: the engine does not start or does not answer.
    """
    task = task_of(settings)
    labels = LabelSet(task.names)
    checkpoint, chat = chat_of(settings)
    answer_tokens = answer_limit_tokens(labels.names)
    length = engine_length(checkpoint, settings, extra=answer_tokens)
    if length <= 2 * answer_tokens:
        raise ConfigError(
            f"model.max_tokens: the answer alone may take {answer_tokens} of {length} tokens;"
            " raise it, or give the classes shorter names"
        )
    faults: list[Fault | None] = [None, *get_args(Fault)]
    prompts = {
        fault: build_prompt(
            task,
            answers="scores",
            render=chat.render,
            tokenizer=chat.tokens,
            max_tokens=length - answer_tokens,
            keep=keep_of(settings),
            note=second_try(task, fault) if fault else "",
        )
        for fault in faults
    }
    digest = causal_digest(checkpoint, labels, settings.adapter)
    first = prompts[None]
    engine = start_engine(settings, checkpoint, Plan(length, question_of(first)))
    with closed_on_error(engine):
        seen = _probe(engine.runtime, first, chat, labels, max_tokens=answer_tokens)
        compared = engine.own.prove(engine.runtime.call, engine.runtime.token_probabilities)
        identity = engine.identity(
            checkpoint,
            digest=digest,
            prompt_version=first.digest("scores", labels.names),
            details={
                "prompt_tokens": str(len(first.shared_ids)),
                "probe": seen,
                "own_forward": compared,
            },
        )
        text = VllmText(
            identity=identity,
            hints=engine.hints(max_in_flight=settings.max_in_flight, max_tokens=first.max_tokens),
            runtime=engine.runtime,
            chat=chat,
            prompts=prompts,
        )
        to_review = settings.long_text == "review"
        return (
            VllmPrompted(labels=labels, engine=text, reviews_truncated=to_review),
            engine,
            first,
        )


def _probe(
    runtime: VllmRuntime, prompt: Prompt, chat: Chat, labels: LabelSet, *, max_tokens: int
) -> str:
    try:
        (tokens,) = runtime.call(
            runtime.write(
                [prompt.encode(PROBE).ids],
                max_tokens=max_tokens,
                pattern=pattern(labels.names),
                end_ids=chat.end_ids,
            )
        )
    except ModelError as error:
        raise ModelLoadError(
            f"model.path: the model cannot generate text on this engine: {error}"
        ) from error
    outcome = parse(chat.tokens.decode(tokens), labels.names)
    return ",".join(map(str, outcome.values)) if isinstance(outcome, Scores) else outcome
