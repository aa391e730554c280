"""Layers with the sizes of Qwen2.5-0.5B and random weights: realistic cost, random answers.

Two of its 24 layers, so that a benchmark on two cores ends in reasonable time; the vocabulary is
complete, because the logits of a first token are computed over all of it.
"""

import itertools
from pathlib import Path
from typing import Any

from testing import texts
from testing.tiny_models import LINES, WORDS, build_tokenizer

__all__ = ["save", "task"]

# Each word is one token, so that an instruction of any length can be built.
_SENTENCE = "A notice of a shop that people asked for is not spam a prize that nobody asked for is"


def save(folder: Path, *, layers: int = 2) -> Path:
    """Write model and tokenizer; return the folder."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    messages = [row["text"] for row in texts.read("sms_spam", "train")]
    lines = [*messages, *[_SENTENCE, *LINES, *WORDS] * 50]
    tokenizer = build_tokenizer(folder, lines=lines, size=4000)
    torch.manual_seed(7)
    config = Qwen2Config(
        vocab_size=151_936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=layers,
        num_attention_heads=14,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder


def task(*, words: int) -> dict[str, Any]:
    """Return a task whose instruction has this many words of one token each."""
    return {
        "instruction": " ".join(itertools.islice(itertools.cycle(_SENTENCE.split()), words)),
        "labels": [
            {"name": "ham", "answers": ["No", "no"]},
            {"name": "spam", "answers": ["Yes", "yes"]},
        ],
        "delimiters": None,
    }
