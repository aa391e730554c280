"""vLLM's engine alone, offline: it gets all prompts of a run at once, as token ids.

Runs in a separate process, like the service's worker. Takes one JSON argument, prints one line.
"""

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from streamlabel.config.engines import VllmSettings
from streamlabel.errors import InferenceError
from streamlabel.models.label_scoring.label_reads import compile_reads
from streamlabel.models.prompts.build_prompt import build_prompt
from streamlabel.models.vllm.answers import FirstTokenReader
from streamlabel.models.vllm.modes import OPENERS
from streamlabel.models.vllm.plan import chat_of, task_of
from streamlabel.models.vllm.reader import Reader
from streamlabel.models.vllm.runtime import VllmRuntime
from testing import texts

_WARM_UP = 64


def reader_of(settings: VllmSettings, runtime: VllmRuntime) -> FirstTokenReader:
    """Return the reader of another task on a running engine."""
    _, chat = chat_of(settings)
    task = task_of(settings)
    prompt = build_prompt(
        task,
        answers="one_token",
        render=chat.render,
        tokenizer=chat.tokens,
        max_tokens=settings.max_tokens,
    )
    reads = compile_reads(task, prompt=prompt.rendered, chat=chat)
    return FirstTokenReader(prompt=prompt, reads=reads, chat=chat, runtime=runtime)


def measure(
    reader: Reader, runtime: VllmRuntime, messages: Sequence[str], warm_up: Sequence[str]
) -> dict[str, float]:
    """Return texts/s and the fraction of prompt tokens from the prefix cache.

    Args:
        reader: of the task.
        runtime: its engine.
        messages: that are measured.
        warm_up: other texts, so that what is measured is not in the cache.
    """
    first, prepared = (
        [p for p in reader.prepare(given) if not isinstance(p, InferenceError)]
        for given in (warm_up, messages)
    )
    assert len(prepared) == len(messages)
    runtime.call(reader.read(first))
    tokens, cached = runtime.cache.prompt_tokens, runtime.cache.cached_tokens
    began_s = time.perf_counter()
    runtime.call(reader.read(prepared))
    seconds = time.perf_counter() - began_s
    asked = runtime.cache.prompt_tokens - tokens
    return {
        "texts_per_s": len(messages) / seconds,
        "tokens": asked / len(messages),
        "hit_rate": (runtime.cache.cached_tokens - cached) / asked,
    }


def main() -> None:
    """Start one engine; measure its own task and all other tasks of the argument."""
    asked: dict[str, Any] = json.loads(sys.argv[1])
    settings = VllmSettings.model_validate(asked["settings"])
    rows = texts.read("sms_spam", "dev")[: asked["texts"]]
    messages: list[str] = asked.get("messages") or [row["text"] for row in rows]
    others = [row["text"] for row in texts.read("sms_spam", "train")[:_WARM_UP]]
    opened = OPENERS[settings.mode](settings)
    runtime = opened.engine.runtime
    try:
        readers: dict[str, Reader] = {"own": opened.reader}
        for name, task in asked.get("others", {}).items():
            other = VllmSettings.model_validate(asked["settings"] | {"task": task})
            readers[name] = reader_of(other, runtime)
        found = {
            name: measure(reader, runtime, messages, others) for name, reader in readers.items()
        }
    finally:
        runtime.close()
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
