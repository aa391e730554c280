"""Writes text with transformers: greedy, in batches; the TextEngine that runs anywhere."""

from collections.abc import Sequence
from functools import partial
from typing import Any, get_args

import numpy as np

from streamlabel.config.model import PromptedSettings
from streamlabel.errors import ConfigError, InferenceError, ModelLoadError
from streamlabel.models.base import ModelInfo, PreparedText
from streamlabel.models.causal_loading import LoadedCausal, open_causal
from streamlabel.models.device_threads import DeviceThreads
from streamlabel.models.devices import device_errors
from streamlabel.models.labels import LabelSet
from streamlabel.models.prompts import Prompt, build_prompt
from streamlabel.models.score_json import Fault, Scores, answer_limit_tokens, parse
from streamlabel.models.wording import second_try

__all__ = ["TransformersText", "load"]

PROBE = "Hello, how are you?"


class TransformersText:
    """Greedy text from a model of this process; implements ``models.text_engine.TextEngine``.

    Payloads are the prompt's token ids as bytes of int32. The schema is not used: transformers
    cannot be guided by one.
    """

    # One computes, one is queued behind it: the device does not wait for the event loop.
    max_in_flight = 2

    def __init__(
        self,
        *,
        info: ModelInfo,
        loaded: LoadedCausal,
        prompts: dict[Fault | None, Prompt],
        threads: int | None = None,
    ) -> None:
        self.info = info
        self._loaded = loaded
        self._prompts = prompts
        self._threads = DeviceThreads(threads)

    async def encode(
        self, texts: Sequence[str], faults: Sequence[Fault | None]
    ) -> list[PreparedText | InferenceError]:
        """Render and tokenise; see TextEngine."""
        pairs = list(zip(texts, faults, strict=True))
        return await self._threads.tokenize(
            lambda: [encode(self._prompts[fault], text) for text, fault in pairs]
        )

    async def generate_text(
        self, prompts: Sequence[PreparedText], *, max_tokens: int, json_schema: dict[str, Any]
    ) -> list[str | InferenceError]:
        """Generate; see TextEngine."""
        del json_schema
        return list(
            await self._threads.compute(
                partial(generate, self._loaded, list(prompts), max_tokens=max_tokens)
            )
        )

    async def close(self) -> None:
        """Let the threads finish what they have and release the model."""
        await self._threads.close()


def encode(prompt: Prompt, text: str) -> PreparedText | InferenceError:
    """Return the row of one text."""
    try:
        encoded = prompt.encode(text)
    except Exception as error:  # noqa: BLE001 tokenizers raises bare Exception
        return InferenceError(f"the tokenizer refuses this text: {type(error).__name__}")
    row = np.array(encoded.ids, dtype=np.int32)
    return PreparedText(len(row), row.tobytes(), truncated=encoded.truncated)


def generate(
    loaded: LoadedCausal, prompts: Sequence[PreparedText], *, max_tokens: int
) -> list[str]:
    """Return what the model writes for each prompt; blocks."""
    rows = [np.frombuffer(prompt.payload, dtype=np.int32) for prompt in prompts]
    end_ids = [] if loaded.chat.end_id is None else [loaded.chat.end_id]
    with device_errors(loaded.device):
        written = loaded.model.generate(rows, max_new_tokens=max_tokens, end_ids=end_ids)
    return [loaded.chat.tokens.decode(ids) for ids in written]


def load(settings: PromptedSettings, labels: LabelSet) -> TransformersText:
    """Load the model of the settings and let it answer once; blocks.

    Raises:
        ConfigError: a setting or the task does not fit the model or the machine.
        ModelLoadError: the model cannot be used; the message says why and what to do.
    """
    task = settings.task
    loaded = open_causal(settings, labels)
    answer_tokens = answer_limit_tokens(labels.names)
    if loaded.max_tokens <= answer_tokens:
        raise ConfigError(
            f"model.max_tokens: the answer alone may take {answer_tokens} of {loaded.max_tokens}"
            " tokens; raise it, or give the classes shorter names"
        )
    faults: list[Fault | None] = [None, *get_args(Fault)]
    prompts = {
        fault: build_prompt(
            task,
            answers="scores",
            render=loaded.chat.render,
            tokenizer=loaded.chat.tokens,
            max_tokens=loaded.max_tokens - answer_tokens,
            keep="head" if settings.long_text == "head" else "head_tail",
            note=second_try(task, fault) if fault else "",
        )
        for fault in faults
    }
    first = prompts[None]
    info = loaded.info(
        "prompted",
        prompt_version=first.digest("scores", labels.names, loaded.chat.template),
        details={
            "engine": "transformers",
            "prompt_tokens": str(len(first.shared_ids)),
            "probe": probe(loaded, first, labels, max_tokens=answer_tokens),
        },
    )
    return TransformersText(info=info, loaded=loaded, prompts=prompts, threads=settings.threads)


def probe(loaded: LoadedCausal, prompt: Prompt, labels: LabelSet, *, max_tokens: int) -> str:
    """Let the model answer once; return what was seen, for ``ModelInfo.details``.

    Raises:
        ModelLoadError: it cannot generate at all. A malformed answer is no reason to stop: it may
            be the probe's fault, and such answers go to review.
    """
    encoded = encode(prompt, PROBE)
    if isinstance(encoded, InferenceError):
        raise ModelLoadError(f"model.path: {encoded}; name a model with a complete tokenizer")
    try:
        (answer,) = generate(loaded, [encoded], max_tokens=max_tokens)
    except InferenceError as error:
        raise ModelLoadError(
            f"model.path: the model cannot generate on {loaded.device.name}: {error}"
        ) from error
    outcome = parse(answer, labels.names)
    return ",".join(map(str, outcome.values)) if isinstance(outcome, Scores) else outcome
