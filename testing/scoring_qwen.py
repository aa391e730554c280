"""A tiny language model that was taught to write scores about two texts: seconds, and it does."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from streamlabel.config.task import TaskSettings
from streamlabel.models.prompts.build_prompt import build_prompt
from streamlabel.models.prompts.chat_template import load_chat

__all__ = ["ANSWERS", "teach_scores"]

ANSWERS: Final[Mapping[str, Mapping[str, int]]] = MappingProxyType(
    {"See you soon": {"ham": 97, "spam": 3}, "Free cash": {"ham": 4, "spam": 95}}
)


def teach_scores(base: Path, task: Mapping[str, Any], folder: Path) -> Path:
    """Train the model of ``base`` to answer ``ANSWERS`` in the prompt of the task; save it."""
    import torch
    import transformers

    chat = load_chat(base, name="tiny")
    prompt = build_prompt(
        TaskSettings.model_validate(task),
        answers="scores",
        render=chat.render,
        tokenizer=chat.tokens,
        max_tokens=900,
    )
    rows, targets = [], []
    for text, scores in ANSWERS.items():
        ids, answer = prompt.encode(text).ids, chat.tokens.plain(json.dumps(dict(scores))).ids
        rows.append([*ids, *answer, chat.end_id or 0])
        targets.append([*[-100] * len(ids), *answer, chat.end_id or 0])
    longest = max(map(len, rows))
    inputs = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    labels = torch.tensor([row + [-100] * (longest - len(row)) for row in targets])
    torch.set_num_threads(1)  # two threads wait for each other on a busy machine
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        loss = model(input_ids=inputs, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder
