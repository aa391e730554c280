"""Fits a classification head, and the top layers under it, on a pretrained encoder.

Any encoder that ``AutoModelForSequenceClassification`` knows; what comes out is an ordinary folder
that the encoder back end, transformers and vLLM load. Meant for hundreds to some thousands of short
texts on a CPU: the lower layers keep what they learned from a billion sentences, which is cheaper
and, with so few examples, no worse than training them too.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from streamlabel.errors import ConfigError, ModelLoadError
from streamlabel.models.epochs import Course, Rows, run_epochs
from streamlabel.models.fit_settings import EpochReport, Example, FitReport, FitSettings
from streamlabel.models.labels import LabelSet, ProblemType
from streamlabel.models.lower import layer_count, lower_states, without_lower
from streamlabel.models.model_folder import replaced

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
) -> FitReport:
    """Fit ``encoder`` to ``examples`` and save it as a sequence classifier in ``folder``.

    Blocks for as long as it takes. The same arguments, machine and library versions give the same
    weights. ``folder`` appears when everything is in it, and not before. Ctrl-C saves what was best
    on ``held_out`` so far; without it, or before the first epoch, nothing is saved.

    Args:
        examples: at least one of every label.
        labels: the order of the model's outputs.
        encoder: a folder with a pretrained encoder and its tokenizer.
        folder: replaced if it is there.
        settings: the defaults if None.
        held_out: not trained on; the epoch with the lowest loss on them is the one that is saved.
        on_step: told after every step how many steps are done, and of how many.
        on_epoch: told after every epoch how it went.
        card: makes the content of README.md.

    Raises:
        ConfigError: a label has no example, or an example has a label that is not in the set.
        ModelLoadError: ``encoder`` cannot be loaded.
    """
    import torch

    settings = settings or FitSettings()
    _check(examples, held_out, labels)
    began_s = time.monotonic()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model, tokenizer = _load(encoder, labels)
        course = _train(
            model,
            _tokenised(tokenizer, examples, labels, settings),
            _tokenised(tokenizer, held_out, labels, settings),
            settings=settings,
            problem_type=labels.problem_type,
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
    _save(model, tokenizer, folder, card(report) if card else None)
    return report


def _check(examples: Sequence[Example], held_out: Sequence[Example], labels: LabelSet) -> None:
    seen = {label for example in examples for label in example.right}
    known = set(labels.names)
    if unknown := sorted({label for e in (*examples, *held_out) for label in e.right} - known):
        raise ConfigError(f"examples have labels that the task does not: {', '.join(unknown)}")
    if missing := [name for name in labels.names if name not in seen]:
        raise ConfigError(f"every label needs an example; none has {', '.join(missing)}")
    if labels.problem_type == "single_label" and any(len(e.right) != 1 for e in examples):
        raise ConfigError("in a single_label task every example has exactly one label")


def _load(encoder: Path, labels: LabelSet) -> tuple[Any, Any]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()  # it would warn that the head is new, which is the point
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(encoder)
        model = AutoModelForSequenceClassification.from_pretrained(
            encoder,
            id2label=dict(enumerate(labels.names)),
            label2id={name: i for i, name in enumerate(labels.names)},
            problem_type=f"{labels.problem_type}_classification",
        )
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"{encoder} is no encoder that transformers can load") from error
    return model, tokenizer


def _tokenised(
    tokenizer: Any,  # noqa: ANN401 transformers is untyped
    examples: Sequence[Example],
    labels: LabelSet,
    settings: FitSettings,
) -> Rows:
    import torch

    if not examples:
        return Rows((), torch.zeros(0, len(labels)))
    texts = [example.text for example in examples]
    rows = tokenizer(texts, truncation=True, max_length=settings.max_tokens)["input_ids"]
    targets = [[float(name in example.right) for name in labels.names] for example in examples]
    return Rows([torch.tensor(row) for row in rows], torch.tensor(targets))


def _train(
    model: Any,  # noqa: ANN401 transformers is untyped
    rows: Rows,
    held_out: Rows,
    *,
    settings: FitSettings,
    problem_type: ProblemType,
    on_step: Callable[[int, int], None] | None,
    on_epoch: Callable[[EpochReport], None] | None,
) -> Course:
    def run(rows: Rows, held_out: Rows) -> Course:
        return run_epochs(
            model,
            rows,
            held_out if len(held_out.inputs) else None,
            settings=settings,
            problem_type=problem_type,
            on_step=on_step,
            on_epoch=on_epoch,
        )

    if settings.trained_layers is None:
        return run(rows, held_out)
    first = max(0, layer_count(model) - settings.trained_layers)
    above, held_above = (
        Rows(lower_states(model, part.inputs, first=first), part.targets)
        for part in (rows, held_out)
    )
    with without_lower(model, first=first):
        return run(above, held_above)


def _save(model: Any, tokenizer: Any, folder: Path, card: str | None) -> None:  # noqa: ANN401 untyped
    with replaced(folder) as partial:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        if card is not None:
            (partial / "README.md").write_text(card, encoding="utf-8")
