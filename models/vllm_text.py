"""Prompted scores on vLLM: the answer is held to its JSON Schema while it is written."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import numpy as np

from streamlabel.config.engines import VllmSettings
from streamlabel.errors import ConfigError, InferenceError, ModelError, ModelLoadError
from streamlabel.models.base import ModelInfo, PreparedText
from streamlabel.models.causal_loading import causal_digest
from streamlabel.models.chat import Chat
from streamlabel.models.labels import LabelSet
from streamlabel.models.prompted import PromptedClassifier
from streamlabel.models.prompts import Prompt, build_prompt
from streamlabel.models.score_json import Fault, Scores, answer_limit_tokens, parse, schema
from streamlabel.models.transformers_text import encode
from streamlabel.models.vllm_plan import (
    chat_of,
    closed_on_error,
    engine_length,
    keep_of,
    task_of,
)
from streamlabel.models.vllm_runtime import VllmRuntime
from streamlabel.models.vllm_start import Engine, Plan, start_engine
from streamlabel.models.wording import second_try

__all__ = ["VllmPrompted", "VllmText", "open_prompted"]

PROBE = "Hello, how are you?"


class VllmText:
    """Greedy text from vLLM; implements ``models.text_engine.TextEngine``."""

    def __init__(
        self,
        *,
        info: ModelInfo,
        runtime: VllmRuntime,
        chat: Chat,
        prompts: dict[Fault | None, Prompt],
        max_in_flight: int,
    ) -> None:
        self.info = info
        self.max_in_flight = max_in_flight
        self.runtime = runtime
        self._chat = chat
        self._prompts = prompts
        self._tokenizer = ThreadPoolExecutor(1, "tokenizer")
        self._is_closed = False

    async def encode(
        self, texts: Sequence[str], faults: Sequence[Fault | None]
    ) -> list[PreparedText | InferenceError]:
        """Render and tokenise; see TextEngine."""
        if self._is_closed:
            raise ModelError("the classifier is closed")
        pairs = list(zip(texts, faults, strict=True))
        return await asyncio.get_running_loop().run_in_executor(
            self._tokenizer, lambda: [encode(self._prompts[fault], text) for text, fault in pairs]
        )

    async def generate_text(
        self, prompts: Sequence[PreparedText], *, max_tokens: int, json_schema: dict[str, Any]
    ) -> list[str | InferenceError]:
        """Generate; see TextEngine."""
        rows = [np.frombuffer(prompt.payload, dtype=np.int32).tolist() for prompt in prompts]
        written = await self.runtime.write(rows, max_tokens=max_tokens, json_schema=json_schema)
        return [self._text(tokens) for tokens in written]

    def _text(self, tokens: list[int]) -> str:
        if tokens and tokens[-1] == self._chat.end_id:
            tokens = tokens[:-1]
        return self._chat.tokens.decode(tokens)

    async def close(self) -> None:
        """End the engine's processes."""
        self._is_closed = True
        await asyncio.to_thread(self._tokenizer.shutdown, cancel_futures=True)
        await asyncio.to_thread(self.runtime.close)


class VllmPrompted(PromptedClassifier):
    """Prompted scores whose engine may be lost."""

    def __init__(self, *, labels: LabelSet, engine: VllmText, reviews_truncated: bool) -> None:
        super().__init__(labels=labels, engine=engine, reviews_truncated=reviews_truncated)
        self._runtime = engine.runtime

    async def lost(self) -> str:
        """Return when the engine is of no more use, and why: a clause."""
        return await self._runtime.lost()


def open_prompted(settings: VllmSettings) -> tuple[VllmPrompted, Engine, Prompt]:
    """Start an engine that writes scores and let it answer once; blocks.

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
    digest = causal_digest(checkpoint.folder, labels, settings.adapter)
    engine = start_engine(settings, checkpoint, Plan(max_model_len=length))
    first = prompts[None]
    with closed_on_error(engine):
        seen = _probe(engine.runtime, first, chat, labels, max_tokens=answer_tokens)
        info = engine.info(
            checkpoint,
            digest=digest,
            max_tokens=first.max_tokens,
            prompt_version=first.digest("scores", labels.names, chat.template),
            details={"prompt_tokens": str(len(first.shared_ids)), "probe": seen},
        )
        text = VllmText(
            info=info,
            runtime=engine.runtime,
            chat=chat,
            prompts=prompts,
            max_in_flight=settings.max_in_flight,
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
                [prompt.encode(PROBE).ids], max_tokens=max_tokens, json_schema=schema(labels.names)
            )
        )
    except ModelError as error:
        raise ModelLoadError(
            f"model.path: the model cannot write on this engine: {error}"
        ) from error
    outcome = parse(chat.tokens.decode([t for t in tokens if t != chat.end_id]), labels.names)
    return ",".join(map(str, outcome.values)) if isinstance(outcome, Scores) else outcome
