"""One-token answers of a language model on one device, beside a plain loop of ``generate``.

The model has the size of Qwen2.5-0.5B and random weights. Both are given the same rows: an
instruction, and texts of heavy-tailed lengths. The plain loop is what transformers' documentation
shows: batches of 32 in their order, padded on the left, one new token each, and the scores of the
labels' tokens.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from streamlabel.config.model import GenerativeSettings
from streamlabel.models.core.classifier import Classifier, PreparedText
from streamlabel.models.files.checkpoint import open_checkpoint
from streamlabel.models.label_scoring.label_reads import compile_reads
from streamlabel.models.prompts.build_prompt import build_prompt
from streamlabel.models.prompts.chat_template import open_chat
from testing.tiny_models import LINES, build_causal

__all__ = ["QWEN", "measure_llm", "queued_rate"]

QWEN: Final[Mapping[str, Any]] = {
    "vocab_size": 151_936,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
    "initializer_range": 0.02,
}
_PLAIN_ROWS: Final = 32
_INSTRUCTION: Final = (
    "Decide whether the message is an advertisement. An advertisement offers goods, prizes or"
    " services to many people, asks for a call or a click, or promises money. An ordinary message"
    " is written by one person to another whom they know. Judge the message as a whole."
)
_TASK: Final = {
    "instruction": _INSTRUCTION,
    "labels": [{"name": "ham", "answers": ["No"]}, {"name": "spam", "answers": ["Yes"]}],
}


def texts_of_the_mix(count: int) -> list[str]:
    """Return texts of words in heavy-tailed numbers, from 2 to 120."""
    rng = np.random.default_rng(3)
    words = " ".join(LINES).split()
    counts = np.clip(rng.lognormal(2.2, 0.75, count), 2, 120).astype(int)
    return [" ".join(rng.choice(words, each)) for each in counts]


async def queued_rate(
    classifier: Classifier, prepared: Sequence[PreparedText], *, seconds: float
) -> float:
    """Return texts/s of the engine, in batches of its token budget, with a full queue."""
    batches: list[list[PreparedText]] = [[]]
    tokens = 0
    for text in prepared:
        tokens += text.tokens
        if tokens > classifier.hints.batch_tokens and batches[-1]:
            batches.append([])
            tokens = text.tokens
        batches[-1].append(text)
    await classifier.classify(batches[0])
    done, turn = 0, 0
    began_s = time.perf_counter()

    async def stream() -> None:
        nonlocal done, turn
        while time.perf_counter() - began_s < seconds:
            batch = batches[turn % len(batches)]
            turn += 1
            await classifier.classify(batch)
            done += len(batch)

    await asyncio.gather(*(stream() for _ in range(classifier.hints.max_in_flight)))
    return done / (time.perf_counter() - began_s)


def _generate_rate(
    folder: Path,
    rows: Sequence[Sequence[int]],
    wanted: Sequence[int],
    *,
    device: str,
    dtype: str,
    seconds: float,
) -> float:
    """Return texts/s of a plain loop of ``generate``."""
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
    model = model.to(device).eval()
    done, first, began_s = 0, 0, 0.0
    with torch.inference_mode():
        while not began_s or time.perf_counter() - began_s < seconds:
            part = rows[first : first + _PLAIN_ROWS]
            first = (first + _PLAIN_ROWS) % len(rows)
            longest = max(map(len, part))
            ids = torch.zeros((len(part), longest), dtype=torch.int64)
            mask = torch.zeros_like(ids)
            for place, row in enumerate(part):
                ids[place, longest - len(row) :] = torch.tensor(row)
                mask[place, longest - len(row) :] = 1
            made = model.generate(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                max_new_tokens=1,
                do_sample=False,
                pad_token_id=0,
                return_dict_in_generate=True,
                output_logits=True,
            )
            made.logits[0].float().softmax(-1)[:, list(wanted)].cpu()
            if began_s:
                done += len(part)
            else:
                began_s = time.perf_counter()  # the first batch warms up
    return done / (time.perf_counter() - began_s)


def _rows(
    settings: GenerativeSettings, texts: Sequence[str]
) -> tuple[list[list[int]], Sequence[int]]:
    """Return the whole prompts of the texts, and the labels' tokens, as our engine has them."""
    chat = open_chat(open_checkpoint(settings), settings, settings.task)
    prompt = build_prompt(
        settings.task,
        answers="one_token",
        render=chat.render,
        tokenizer=chat.tokens,
        max_tokens=settings.max_tokens,
    )
    reads = compile_reads(settings.task, prompt=prompt.rendered, chat=chat)
    return [list(prompt.encode(text).ids) for text in texts], reads.children[0]


async def measure_llm(
    scratch: Path,
    *,
    sizes: Mapping[str, Any],
    device: str,
    dtype: str,
    seconds: float,
    count: int,
) -> dict[str, float]:
    """Return texts/s of our engine and of the plain loop, and their ratio.

    Args:
        scratch: for the model's files.
        sizes: of the model; empty: tiny.
        device: ``cuda`` or ``cpu``.
        dtype: of both.
        seconds: of each measurement.
        count: of the texts.
    """
    from streamlabel.models.llm import generative

    folder = await asyncio.to_thread(partial(build_causal, scratch / "llm", **dict(sizes)))
    settings = GenerativeSettings.model_validate(
        {"path": str(folder), "device": device, "dtype": dtype, "task": _TASK, "max_tokens": 1024}
    )
    texts = texts_of_the_mix(count)
    classifier = await asyncio.to_thread(generative.load, settings)
    try:
        found = await classifier.prepare(texts)
        prepared = [text for text in found if isinstance(text, PreparedText)]
        if len(prepared) != count:
            raise RuntimeError(f"{count - len(prepared)} texts were refused")
        ours = await queued_rate(classifier, prepared, seconds=seconds)
    finally:
        await classifier.close()
    rows, wanted = _rows(settings, texts)
    plain = await asyncio.to_thread(
        _generate_rate, folder, rows, wanted, device=device, dtype=dtype, seconds=seconds
    )
    return {
        "llm_texts_per_s": ours,
        "llm_generate_texts_per_s": plain,
        "llm_over_generate": ours / plain,
    }
