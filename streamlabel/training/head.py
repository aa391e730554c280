"""Trains a classification head and the top layers of a pretrained encoder.

Works with every encoder that ``AutoModelForSequenceClassification`` supports; the result is an
ordinary model folder, which the encoder back end, transformers and vLLM can load. Intended for
hundreds to thousands of short texts on a CPU: the pretrained lower layers are frozen, which is
cheaper and, with so few examples, no worse than training them too.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from streamlabel.errors import ConfigError, ModelLoadError
from streamlabel.models.core.labels import LabelSet, ProblemType
from streamlabel.models.devices.npu import load_npu
from streamlabel.models.files.checkpoint import open_folder
from streamlabel.models.files.model_folder import replaced
from streamlabel.models.files.trained_length import store_length
from streamlabel.models.files.transformers_errors import one_line, unusable
from streamlabel.models.files.whole_model import load_whole
from streamlabel.training.fit_settings import EpochReport, Example, FitReport, FitSettings
from streamlabel.training.frozen_layers import frozen_states, layer_count, without_frozen
from streamlabel.training.losses import weights_of
from streamlabel.training.training_loop import run_epochs
from streamlabel.training.training_rows import TrainingRows
from streamlabel.training.training_run import Course
from streamlabel.training.training_state import TrainingState

__all__ = ["EpochReport", "Example", "FitReport", "FitSettings", "fit_head"]


def fit_head(
    examples: Sequence[Example],
    labels: LabelSet,
    *,
    encoder: Path,
    folder: Path,
    settings: FitSettings | None = None,
    held_out: Sequence[Example] = (),
    on_step: Callable[[int, int], None] | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
    card: Callable[[FitReport], str] | None = None,
    state: TrainingState | None = None,
) -> FitReport:
    """Fit ``encoder`` to ``examples`` and save it as a sequence classifier in ``folder``.

    Blocks until it is done. The same arguments, machine and library versions give the same weights.
    ``folder`` is created atomically at the end. Ctrl-C saves the best epoch on ``held_out`` so far;
    without ``held_out``, or before the end of the first epoch, nothing is saved.

    Args:
        examples: at least one of every label.
        labels: in the order of the model's outputs.
        encoder: a folder with a pretrained encoder and its tokenizer.
        folder: replaced if it exists.
        settings: the defaults if None.
        held_out: not used for training; the epoch with the lowest loss on them is saved.
        on_step: called after every step with the number of finished steps and the total.
        on_epoch: called after every epoch with its report.
        card: returns the content of README.md.
        state: the training goes on from it and keeps it up to date, until ``folder`` is written.

    Raises:
        ConfigError: a label has no example, an example has a label that is not in the set, or
            ``state`` is damaged or that of another training.
        ModelLoadError: ``encoder`` cannot be loaded.
    """
    load_npu("cpu")  # training uses the CPU and never needs torch_npu
    import torch

    settings = settings or FitSettings()
    _check(examples, held_out, labels)
    began_s = time.monotonic()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model, tokenizer, max_tokens = _load(encoder, labels, settings)
        course = _train(
            model,
            _tokenised(tokenizer, examples, labels, max_tokens),
            _tokenised(tokenizer, held_out, labels, max_tokens),
            settings=settings,
            problem_type=labels.problem_type,
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
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        store_length(partial, max_tokens)
        if card is not None:
            (partial / "README.md").write_text(card(report), encoding="utf-8")
    return report


def _check(examples: Sequence[Example], held_out: Sequence[Example], labels: LabelSet) -> None:
    seen = {label for example in examples for label in example.right}
    known = set(labels.names)
    if unknown := sorted({label for e in (*examples, *held_out) for label in e.right} - known):
        raise ConfigError(f"examples have labels that the task does not have: {', '.join(unknown)}")
    if missing := [name for name in labels.names if name not in seen]:
        raise ConfigError(f"every label needs an example; there is none of {', '.join(missing)}")
    if labels.problem_type == "single_label" and any(len(e.right) != 1 for e in examples):
        raise ConfigError("in a single_label task every example has exactly one label")


def _load(encoder: Path, labels: LabelSet, settings: FitSettings) -> tuple[Any, Any, int]:
    """Return the model, its tokenizer, and the longest row, which is also that of serving."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    checkpoint = open_folder(encoder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(encoder, trust_remote_code=False)
    except unusable() as error:
        raise ModelLoadError(
            f"{encoder} has no tokenizer that transformers can load ({one_line(error)})"
        ) from error
    model = load_whole(
        AutoModelForSequenceClassification,
        checkpoint,
        dtype=torch.float32,
        what="encoder",
        has_new_head=True,
        id2label=dict(enumerate(labels.names)),
        label2id={name: i for i, name in enumerate(labels.names)},
        problem_type=f"{labels.problem_type}_classification",
    )
    positions = checkpoint.likely_positions()
    max_tokens = min(settings.max_tokens, positions) if positions else settings.max_tokens
    tokenizer.model_max_length = max_tokens  # longer texts are cut in serving as in training
    return model, tokenizer, max_tokens


def _tokenised(
    tokenizer: Any,  # noqa: ANN401 transformers is untyped
    examples: Sequence[Example],
    labels: LabelSet,
    max_tokens: int,
) -> TrainingRows:
    import torch

    if not examples:
        return TrainingRows((), torch.zeros(0, len(labels)))
    texts = [example.text for example in examples]
    rows = tokenizer(texts, truncation=True, max_length=max_tokens)["input_ids"]
    targets = [[float(name in example.right) for name in labels.names] for example in examples]
    inputs = [torch.tensor(row) for row in rows]
    return TrainingRows(inputs, torch.tensor(targets), weights_of(examples))


def _train(
    model: Any,  # noqa: ANN401 transformers is untyped
    rows: TrainingRows,
    held_out: TrainingRows,
    *,
    settings: FitSettings,
    problem_type: ProblemType,
    on_step: Callable[[int, int], None] | None,
    on_epoch: Callable[[EpochReport], None] | None,
    state: TrainingState | None,
) -> Course:
    def run(rows: TrainingRows, held_out: TrainingRows) -> Course:
        return run_epochs(
            model,
            rows,
            held_out if len(held_out.inputs) else None,
            settings=settings,
            problem_type=problem_type,
            on_step=on_step,
            on_epoch=on_epoch,
            state=state,
        )

    if settings.trained_layers is None:
        return run(rows, held_out)
    first = max(0, layer_count(model) - settings.trained_layers)
    above, held_above = (
        TrainingRows(frozen_states(model, part.inputs, first=first), part.targets, part.weights)
        for part in (rows, held_out)
    )
    with without_frozen(model, first=first):
        return run(above, held_above)
