"""Fits a language model to one-token answers, whole or as a LoRA adapter.

The result is what the generative back ends serve: an ordinary model folder, or an adapter for
``model.adapter``, trained with exactly the prompts that they render.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from streamlabel.config.task import TaskSettings
from streamlabel.errors import ConfigError
from streamlabel.models.core.labels import LabelSet
from streamlabel.models.devices.device import Device, choose_device
from streamlabel.models.files.checkpoint import Checkpoint
from streamlabel.models.files.model_folder import replaced
from streamlabel.models.files.trained_length import store_length
from streamlabel.models.files.whole_model import load_whole
from streamlabel.models.label_scoring.taught_prompt import store_prompt
from streamlabel.models.prompts.chat_template import Chat, load_chat
from streamlabel.training.answer_tuning import Lessons, answer_model
from streamlabel.training.fit_settings import EpochReport, Example, FitReport, FitSettings
from streamlabel.training.losses import balanced
from streamlabel.training.shared_prompt import sees_only_the_mask
from streamlabel.training.training_loop import run_epochs
from streamlabel.training.training_state import TrainingState

__all__ = ["Lora", "fit_answers"]

# Files of the tokenizer, copied unchanged, because saving a tokenizer again may change it.
_TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "*.jinja",
)


@dataclass(frozen=True, slots=True)
class Lora:
    """A low-rank adapter on every linear layer but the vocabulary's.

    Attributes:
        rank: of its matrices.
        alpha: its scaling is ``alpha / rank``.
        dropout: of its input, in training. Its random numbers cost a CPU a quarter of the time.
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0


def fit_answers(
    examples: Sequence[Example],
    task: TaskSettings,
    *,
    base: Checkpoint,
    folder: Path,
    settings: FitSettings,
    lora: Lora | None = None,
    held_out: Sequence[Example] = (),
    device: str = "auto",
    chat_template: str | None = None,
    chat_date: date | None = None,
    on_step: Callable[[int, int], None] | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
    card: Callable[[FitReport], str] | None = None,
    state: TrainingState | None = None,
) -> FitReport:
    """Fit ``base`` to the correct answers of ``examples`` and save it or its adapter in ``folder``.

    Blocks until it is done. ``folder`` is created atomically at the end. Ctrl-C saves the best
    epoch on ``held_out`` so far; before the end of the first epoch, nothing is saved.

    Args:
        examples: with one label of the task each.
        task: the task to serve; its labels are listed in many orders.
        base: a causal language model with a chat template.
        folder: replaced if it exists.
        settings: ``trained_layers`` does not apply.
        lora: None: train all weights.
        held_out: not used for training; the epoch with the lowest loss on them, with the prompts of
            serving, is saved.
        device: same as ``model.device``.
        chat_template: Jinja file instead of the model's own; serving needs the same.
        chat_date: today's date for the chat template; serving needs the same.
        on_step: called after every step with the number of finished steps and the total.
        on_epoch: called after every epoch with its report.
        card: returns the content of README.md.
        state: the training goes on from it and keeps it up to date, until ``folder`` is written.

    Raises:
        ConfigError: an example has no label of the task, the task does not fit the model, or
            ``state`` is damaged or that of another training.
        ModelLoadError: ``base`` cannot be used.
    """
    _check([*examples, *held_out], LabelSet(task.names))
    if settings.class_weights == "balanced":
        # by example, because a label has another token in each order of the labels
        held_out, examples = balanced(held_out, like=examples), balanced(examples, like=examples)
    began_s = time.monotonic()
    chosen = choose_device(device)
    import torch

    chat = load_chat(
        base.folder,
        name=base.name,
        chat_template=chat_template,
        chat_date=chat_date,
        vocabulary=base.vocabulary,
    )
    is_mixed = settings.precision == "bfloat16"
    lessons = Lessons(task, chat, max_tokens=settings.max_tokens, seed=settings.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = _load(base, chosen, in_bfloat16=lora is not None and is_mixed)
        if settings.checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        learner = model if lora is None else _adapted(model, lora)
        answering = answer_model(
            learner, lessons.token_ids, device=chosen.name, precision=settings.precision
        )
        rows = replace(lessons.rows(examples, shuffled=True), weighs_labels=True)
        if sees_only_the_mask(answering, rows.inputs):
            answering.packs = True
            rows = replace(rows, shared_tokens=lessons.shared_tokens)
        course = run_epochs(
            answering,
            rows,
            lessons.rows(held_out, shuffled=False) if held_out else None,
            settings=settings,
            problem_type="single_label",
            on_step=on_step,
            on_epoch=on_epoch,
            state=state,
        )
    report = FitReport(
        folder,
        len(examples),
        course.steps,
        course.loss,
        course.before_s + time.monotonic() - began_s,
        tuple(course.epochs),
        course.was_interrupted,
    )
    with replaced(folder) as partial:
        _save(learner, partial, base if lora is None else None, chat, chat_template)
        tree = task.model_dump(mode="json", exclude_defaults=True)
        dumped = yaml.safe_dump(tree, allow_unicode=True, sort_keys=False)
        (partial / "task.yaml").write_text(dumped, encoding="utf-8")
        store_prompt(partial, lessons.prompt_version)
        store_length(partial, settings.max_tokens)
        if card is not None:
            (partial / "README.md").write_text(card(report), encoding="utf-8")
    return report


def _check(examples: Sequence[Example], labels: LabelSet) -> None:
    known = set(labels.names)
    if unknown := sorted({label for example in examples for label in example.right} - known):
        raise ConfigError(f"examples have labels that the task does not have: {', '.join(unknown)}")
    if any(len(example.right) != 1 for example in examples):
        raise ConfigError("for one-token answers every example has exactly one label")


def _load(base: Checkpoint, device: Device, *, in_bfloat16: bool) -> Any:  # noqa: ANN401 transformers is untyped
    """Return the model to train: trained weights in float32, frozen ones may be in bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM

    model = load_whole(
        AutoModelForCausalLM,
        base,
        dtype=torch.bfloat16 if in_bfloat16 else torch.float32,
        what="language model",
    )
    return model.to(device.name)


def _adapted(model: Any, lora: Lora) -> Any:  # noqa: ANN401 untyped libraries
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def _save(
    model: Any,  # noqa: ANN401 untyped libraries
    folder: Path,
    base: Checkpoint | None,
    chat: Chat,
    chat_template: str | None,
) -> None:
    """Write the weights; of a whole model (``base`` given) also tokenizer and chat template."""
    import torch

    model = model.to("cpu")  # safetensors reads the memory of a tensor, which a device may not show
    if base is None:
        model.save_pretrained(folder)
        return
    dtype = base.text_config.get("dtype") or base.text_config.get("torch_dtype") or "float32"
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    for pattern in _TOKENIZER:
        for path in base.folder.glob(pattern):
            shutil.copyfile(path, folder / path.name)
    if chat_template is not None:
        (folder / "chat_template.jinja").write_text(chat.template, encoding="utf-8")
