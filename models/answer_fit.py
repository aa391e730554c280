"""Fits a language model to one-token answers, whole or as a LoRA adapter.

What comes out is what the generative back ends serve: an ordinary model folder, or an adapter for
``model.adapter``, trained with the very prompts that they render.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from streamlabel.config.task import TaskSettings
from streamlabel.errors import ConfigError, ModelLoadError
from streamlabel.models.answer_tuning import Lessons, answer_model
from streamlabel.models.chat import Chat, load_chat
from streamlabel.models.checkpoint import Checkpoint
from streamlabel.models.devices import Device, choose_device
from streamlabel.models.epochs import run_epochs
from streamlabel.models.fit_settings import EpochReport, Example, FitReport, FitSettings
from streamlabel.models.labels import LabelSet
from streamlabel.models.model_folder import replaced

__all__ = ["Lora", "fit_answers"]

# What makes tokens of a text: copied as it is, since a tokenizer that is saved anew may differ.
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
        alpha: its weight is ``alpha / rank``.
        dropout: of what goes into it, in training.
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.05


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
    on_step: Callable[[int, int], None] | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
    card: Callable[[FitReport], str] | None = None,
) -> FitReport:
    """Fit ``base`` to the right answers of ``examples`` and save it, or its adapter, in ``folder``.

    Blocks for as long as it takes. ``folder`` appears when everything is in it, and not before.
    Ctrl-C saves what was best on ``held_out`` so far; before the first epoch, nothing is saved.

    Args:
        examples: one label of the task each.
        task: what will be served; its labels are shown in many orders.
        base: a causal language model with a chat template.
        folder: replaced if it is there.
        settings: ``trained_layers`` and ``class_weights`` do not apply.
        lora: None: all weights learn.
        held_out: not trained on; the epoch with the lowest loss on them, asked as served, is saved.
        device: as ``model.device``.
        chat_template: Jinja file instead of the model's own; serving needs the same.
        on_step: told after every step how many steps are done, and of how many.
        on_epoch: told after every epoch how it went.
        card: makes the content of README.md.

    Raises:
        ConfigError: an example has no label of the task, or the task does not fit the model.
        ModelLoadError: ``base`` cannot be used.
    """
    import torch

    _check([*examples, *held_out], LabelSet(task.names))
    began_s = time.monotonic()
    chosen = choose_device(device)
    chat = load_chat(base.folder, name=base.name, chat_template=chat_template)
    base.refuse_other_vocabulary(chat.size)
    lessons = Lessons(task, chat, max_tokens=settings.max_tokens, seed=settings.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = _load(base, chosen, is_adapted=lora is not None)
        learner = model if lora is None else _adapted(model, lora)
        course = run_epochs(
            answer_model(learner, lessons.token_ids, device=chosen.name),
            lessons.rows(examples, shuffled=True),
            lessons.rows(held_out, shuffled=False) if held_out else None,
            settings=settings,
            problem_type="single_label",
            on_step=on_step,
            on_epoch=on_epoch,
        )
    report = FitReport(
        folder,
        len(examples),
        course.steps,
        course.loss,
        time.monotonic() - began_s,
        tuple(course.epochs),
        course.was_interrupted,
    )
    with replaced(folder) as partial:
        _save(learner, partial, base if lora is None else None, chat, chat_template)
        tree = task.model_dump(mode="json", exclude_defaults=True)
        dumped = yaml.safe_dump(tree, allow_unicode=True, sort_keys=False)
        (partial / "task.yaml").write_text(dumped, encoding="utf-8")
        if card is not None:
            (partial / "README.md").write_text(card(report), encoding="utf-8")
    return report


def _check(examples: Sequence[Example], labels: LabelSet) -> None:
    known = set(labels.names)
    if unknown := sorted({label for example in examples for label in example.right} - known):
        raise ConfigError(f"examples have labels that the task does not: {', '.join(unknown)}")
    if any(len(example.right) != 1 for example in examples):
        raise ConfigError("for one-token answers every example has exactly one label")


def _load(base: Checkpoint, device: Device, *, is_adapted: bool) -> Any:  # noqa: ANN401 transformers is untyped
    """Return the model to train: float32, but what stays as it is beside an adapter."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    is_small = device.kind != "cpu" and is_adapted
    try:
        model = AutoModelForCausalLM.from_pretrained(
            base.folder,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.bfloat16 if is_small else torch.float32,
        )
    # What transformers raises for a folder it cannot use has no common base.
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, ImportError) as error:
        raise ModelLoadError(
            f"{base.name} is no language model that transformers can load"
            f" ({type(error).__name__}); name one"
        ) from error
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
    """Write the weights; of a whole model (``base`` given) also what makes prompts of texts."""
    import torch

    if base is None:
        model.save_pretrained(folder)
        return
    text_config = base.config.get("text_config") or base.config
    dtype = text_config.get("dtype") or text_config.get("torch_dtype") or "float32"
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    for pattern in _TOKENIZER:
        for path in base.folder.glob(pattern):
            shutil.copyfile(path, folder / path.name)
    if chat_template is not None:
        (folder / "chat_template.jinja").write_text(chat.template, encoding="utf-8")
