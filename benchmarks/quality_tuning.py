"""One-token training of a small language model, whole and as an adapter, on both engines.

All weights of a two-layer, randomly initialised Qwen2 are trained on sms_spam; then an adapter is
trained on ag_news. Dev is classified with transformers and with vLLM, in the same way as in the
service.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import transformers

from streamlabel.config.engines import VllmSettings
from streamlabel.config.model import GenerativeSettings
from streamlabel.config.settings import BatchingSettings
from streamlabel.config.task import TaskSettings
from streamlabel.models.core.classifier import Classifier
from streamlabel.models.devices.compute_type import fastest_precision
from streamlabel.models.files.checkpoint import open_checkpoint
from streamlabel.models.llm import generative
from streamlabel.models.prompts.phrases import render_phrases
from streamlabel.models.vllm import classifier as vllm_engine
from streamlabel.quality.labelled import LabelledText
from streamlabel.quality.scoring import ask
from streamlabel.training.answer_fit import Lora, fit_answers
from streamlabel.training.fit_settings import Example, FitSettings
from testing import texts
from testing.tiny_models import WORDS, build_tokenizer

__all__ = ["Tuned", "is_tuned", "tuned"]

_MAX_TOKENS = 320
# Enough training data for a meaningful model; the benchmark measures the agreement of the engines.
_TRAIN_ITEMS = {"full": 1500, "lora": 1000}
_TASKS = {
    "sms_spam": {
        "instruction": "Is the message spam?",
        "labels": [
            {"name": "ham", "definition": "People write to people."},
            {"name": "spam", "definition": "Advertising or fraud."},
        ],
    },
    "ag_news": {
        "instruction": "What is the news about?",
        "labels": [
            {"name": "world", "answers": ["World"]},
            {"name": "sports", "answers": ["Sports"]},
            {"name": "business", "answers": ["Business"]},
            {"name": "sci_tech", "answers": ["Science"]},
        ],
    },
}
_FULL = FitSettings(
    epochs=2, learning_rate=2e-3, batch_items=16, max_tokens=_MAX_TOKENS, label_smoothing=0.0,
    patience=2, precision=fastest_precision(),
)  # fmt: skip
_LORA = FitSettings(
    epochs=2, learning_rate=3e-3, batch_items=16, max_tokens=_MAX_TOKENS, label_smoothing=0.0,
    patience=2, precision=fastest_precision(),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tuned:
    """One tuned model, served by both engines.

    Attributes:
        items: texts of dev.
        accuracy: on transformers.
        vllm_accuracy: on vLLM.
        same_labels: share of the texts with the same label on both.
        train_s: duration of its training.
    """

    method: Literal["full", "lora"]
    data: str
    items: int
    accuracy: float
    vllm_accuracy: float
    same_labels: float
    train_s: float


def tuned(work: Path, *, limit: int | None) -> list[Tuned]:
    """Return both; results of an earlier run are reused."""
    whole = work / "tuned_full"
    base = work / "tuned_base"
    if not base.is_dir():
        _random_model(base, limit)
    return [
        _kept(work, "full", "sms_spam", base=base, folder=whole, limit=limit),
        _kept(work, "lora", "ag_news", base=whole, folder=work / "tuned_lora", limit=limit),
    ]


def is_tuned(work: Path) -> bool:
    """Return whether the results already exist."""
    return all((work / f"tuned_{method}.json").is_file() for method in ("full", "lora"))


def _kept(
    work: Path,
    method: Literal["full", "lora"],
    data: str,
    *,
    base: Path,
    folder: Path,
    limit: int | None,
) -> Tuned:
    kept = work / f"tuned_{method}.json"
    if kept.is_file():
        return Tuned(**json.loads(kept.read_text()))
    task = TaskSettings.model_validate(_TASKS[data])
    count = min(limit or _TRAIN_ITEMS[method], _TRAIN_ITEMS[method])
    model: dict[str, Any] = {"path": str(base), "task": task, "device": "cpu"}
    train = [Example(row["text"], row["label"]) for row in texts.read(data, "train")[:count]]
    held = len(train) // 12
    report = fit_answers(
        train[held:],
        task,
        base=open_checkpoint(GenerativeSettings(**model)),
        folder=folder,
        settings=_FULL if method == "full" else _LORA,
        lora=None if method == "full" else Lora(rank=16, alpha=32, dropout=0.0),
        held_out=train[:held],
        device="cpu",
        on_epoch=lambda e: print(
            f"{method}: {e.number} {e.loss:.4f} {e.held_out_loss}", flush=True
        ),
    )
    served = {"path": str(folder)} if method == "full" else {"adapter": str(folder)}
    model |= served | {"max_tokens": _MAX_TOKENS}
    dev = [
        LabelledText(i, row["text"], (row["label"],))
        for i, row in enumerate(texts.read(data, "dev")[:limit], start=1)
    ]
    one = _labels(generative.load(GenerativeSettings(**model)), dev)
    engine = VllmSettings(**model, max_num_batched_tokens=2048, kv_cache_gib=1, enforce_eager=True)
    other = _labels(vllm_engine.load(engine), dev)
    right = [text.labels[0] for text in dev]
    found = Tuned(
        method, data, len(dev), _share(one, right), _share(other, right), _share(one, other),
        report.fit_s,
    )  # fmt: skip
    kept.write_text(json.dumps(asdict(found)))
    return found


def _labels(classifier: Classifier, dev: Sequence[LabelledText]) -> list[str]:
    async def labels() -> list[str]:
        try:
            answers = await ask(classifier, dev, BatchingSettings(), on_done=lambda *_: None)
        finally:
            await classifier.close()
        return [answers.labels.names[i] for i in answers.log_scores.argmax(axis=1)]

    return asyncio.run(labels())


def _share(one: Sequence[str], other: Sequence[str]) -> float:
    return sum(a == b for a, b in zip(one, other, strict=True)) / len(one)


def _random_model(folder: Path, limit: int | None) -> None:
    tasks = [TaskSettings.model_validate(task) for task in _TASKS.values()]
    said = [render_phrases(task, "one_token").system for task in tasks]
    answers = [form for task in tasks for forms in task.forms for form in forms]
    lines = [row["text"] for data in _TASKS for row in texts.read(data, "train")[:limit]]
    partial = folder.with_name(f"{folder.name}.partial")
    tokenizer = build_tokenizer(
        partial, lines=[*lines, *[*said, *WORDS, *answers] * 200], size=4000
    )
    torch.manual_seed(17)
    config = transformers.Qwen2Config(
        vocab_size=4096,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    transformers.Qwen2ForCausalLM(config).save_pretrained(partial)
    partial.rename(folder)
