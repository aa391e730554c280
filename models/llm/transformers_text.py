"""Generates text with transformers: greedy, in batches; the TextEngine for every device."""

from collections.abc import Sequence
from functools import partial
from typing import Any, get_args

import numpy as np

from streamlabel.config.model import PromptedSettings
from streamlabel.errors import ConfigError, InferenceError, ModelLoadError
from streamlabel.models.core.classifier import BatchHints, ModelIdentity, PreparedText
from streamlabel.models.core.labels import LabelSet
from streamlabel.models.core.probes import PROBE
from streamlabel.models.devices.device import device_errors
from streamlabel.models.devices.device_threads import DeviceThreads
from streamlabel.models.llm.independence import settle_company
from streamlabel.models.llm.loading import LoadedCausal, open_causal
from streamlabel.models.llm.own_forward import settle_forward
from streamlabel.models.prompts.build_prompt import Prompt, build_prompt
from streamlabel.models.prompts.phrases import second_try
from streamlabel.models.prompts.score_json import Fault, Scores, answer_limit_tokens, parse

__all__ = ["TransformersText", "load"]


class TransformersText:
    """Greedy text from a model in this process; implements ``models.llm.text_engine.TextEngine``.

    Payloads are the prompt's token ids as bytes of int32. The schema is not used, because
    transformers has no guided decoding.
    """

    def __init__(
        self,
        *,
        identity: ModelIdentity,
        hints: BatchHints,
        loaded: LoadedCausal,
        prompts: dict[Fault | None, Prompt],
        threads: int | None = None,
    ) -> None:
        self.identity = identity
        self.hints = hints
        self._loaded = loaded
        self._prompts = prompts
        self._threads = DeviceThreads(loaded.device, threads)

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
        """Let the threads finish their work and release the model."""
        await self._threads.close()


def encode(prompt: Prompt, text: str) -> PreparedText | InferenceError:
    """Return the row of one text."""
    try:
        encoded = prompt.encode(text)
    except InferenceError as error:  # of a conversation
        return error
    except Exception as error:  # noqa: BLE001 tokenizers raises bare Exception
        return InferenceError(f"the tokenizer refuses this text: {type(error).__name__}")
    row = np.array(encoded.ids, dtype=np.int32)
    return PreparedText(
        len(row),
        row.tobytes(),
        truncated=encoded.truncated,
        unknown_share=encoded.seen.unknown_share,
        is_unreadable=encoded.seen.is_unreadable,
    )


def generate(
    loaded: LoadedCausal, prompts: Sequence[PreparedText], *, max_tokens: int
) -> list[str]:
    """Return the text that the model generates for each prompt; blocks."""
    rows = [np.frombuffer(prompt.payload, dtype=np.int32) for prompt in prompts]
    with device_errors(loaded.device):
        written = loaded.model.generate(
            rows, max_new_tokens=max_tokens, end_ids=loaded.chat.end_ids
        )
    return [loaded.chat.tokens.decode(ids) for ids in written]


def load(settings: PromptedSettings, labels: LabelSet) -> TransformersText:
    """Load the model of the settings and generate one answer as a test; blocks.

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
    identity = loaded.identity(
        "prompted",
        prompt_version=first.digest("scores", labels.names),
        details={
            "engine": "transformers",
            "prompt_tokens": str(len(first.shared_ids)),
            "attention": settle_forward(loaded, first),
            "company": settle_company(loaded, writes=True),
            "probe": probe(loaded, first, labels, max_tokens=answer_tokens),
        },
    )
    return TransformersText(
        identity=identity,
        hints=loaded.hints,
        loaded=loaded,
        prompts=prompts,
        threads=settings.threads,
    )


def probe(loaded: LoadedCausal, prompt: Prompt, labels: LabelSet, *, max_tokens: int) -> str:
    """Generate one answer; return the result for ``ModelIdentity.details``.

    Raises:
        ModelLoadError: it cannot generate at all. A malformed answer is not an error: the probe
            text may cause it, and records with such answers go to review.
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
