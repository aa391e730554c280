"""The README of a trained model: its kind, training data and settings, and losses."""

import hashlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from streamlabel import __version__
from streamlabel.models.core.labels import LabelSet
from streamlabel.training.fit_settings import FitReport, FitSettings
from streamlabel.training.several_seeds import Spread, spreads

__all__ = ["Source", "answers_card", "model_card", "source_of"]


@dataclass(frozen=True, slots=True)
class Source:
    """A file that labels came from.

    Attributes:
        file: its name.
        what: how many texts, and who labelled them.
        sha256: of its content.
    """

    file: str
    what: str
    sha256: str


def source_of(path: Path, what: str) -> Source:
    """Return the entry of a file."""
    with path.open("rb") as content:
        return Source(path.name, what, hashlib.file_digest(content, "sha256").hexdigest())


_ENCODER = """\
---
library_name: transformers
pipeline_tag: text-classification
---

# Text classifier ({problem})

{origin} An ordinary model folder: streamlabel, transformers and vLLM load it.
"""
_WHOLE = """\
---
library_name: transformers
pipeline_tag: text-generation
---

# Language model that answers one task with one token

{origin} Its prompt is made of `task.yaml`. An ordinary model folder:

    model: {{backend: generative, path: FOLDER, task: FOLDER/task.yaml}}  # or backend: vllm
"""
_ADAPTER = """\
---
library_name: peft
pipeline_tag: text-generation
---

# LoRA adapter: a language model answers one task with one token

{origin} Its prompt is built from `task.yaml`. It is served with the model that it was trained on:

    model: {{backend: generative, path: {base}, adapter: FOLDER, task: FOLDER/task.yaml}}

or with `backend: vllm`.
"""


def model_card(
    report: FitReport,
    labels: LabelSet,
    settings: FitSettings,
    *,
    base: str,
    data: str,
    sources: Sequence[Source] = (),
    seeds: Mapping[int, FitReport] | None = None,
) -> str:
    """Return the card as Markdown with the front matter that model hubs read.

    Args:
        report: of the training.
        labels: of the model.
        settings: of the training.
        base: name of the model that it began with.
        data: name of the file of training texts.
        sources: of the labels.
        seeds: reports by seed, of which ``report`` is the best one; None: of one seed.
    """
    problem = labels.problem_type.replace("_", "-")
    layers = "all" if settings.trained_layers is None else str(settings.trained_layers)
    return "\n".join(
        [
            _ENCODER.format(problem=problem, origin=_origin(report, base, data)),
            _course(report, labels.names, settings),
            f"trained layers: {layers}, class weights: {settings.class_weights}.",
            *_seeds(report, seeds or {}),
            *_sources(sources),
            _advice("--set model.backend=encoder --set model.path=FOLDER"),
        ]
    )


def answers_card(
    report: FitReport,
    labels: Sequence[str],
    settings: FitSettings,
    *,
    base: str,
    data: str,
    method: Literal["full", "lora"],
    sources: Sequence[Source] = (),
    seeds: Mapping[int, FitReport] | None = None,
) -> str:
    """Return the card of a language model, or of an adapter for one; see ``model_card``."""
    form = _WHOLE if method == "full" else _ADAPTER
    return "\n".join(
        [
            form.format(base=base, origin=_origin(report, base, data)),
            _course(report, labels, settings),
            f"method: {method}, class weights: {settings.class_weights}; the loss is that of the"
            " answer's token, the labels were listed in many orders.",
            *_seeds(report, seeds or {}),
            *_sources(sources),
            _advice("-c streamlabel.yaml"),
        ]
    )


def _sources(sources: Sequence[Source]) -> list[str]:
    """Return where the labels came from, and the command."""
    if not sources:
        return []
    rows = (f"| {each.file} | {each.what} | `{each.sha256}` |" for each in sources)
    command = shlex.join(["streamlabel", *sys.argv[1:]])
    heads = ["| file | what | SHA-256 |", "| --- | --- | --- |"]
    return ["", "Its labels came from:", "", *heads, *rows, "", f"    {command}"]


def _seeds(report: FitReport, seeds: Mapping[int, FitReport]) -> list[str]:
    """Return the figures of all seeds, and what was chosen by them."""
    best = report.best
    if best is None or best.held_out_accuracy is None:
        return []
    if len(seeds) < 2:
        return ["", "The held-out texts chose the epoch: figures on them are optimistic."]
    heads = (
        "| seed | best epoch | held-out accuracy | macro F1 | held-out loss | kept |",
        "| ---: | ---: | ---: | ---: | ---: | --- |",
    )
    rows = [_seed(seed, each, is_kept=each is report) for seed, each in seeds.items()]
    accuracy, macro_f1 = spreads(list(seeds.values()))
    return [
        "",
        f"Trained with {len(seeds)} seeds; the model with the highest accuracy on the held-out"
        " texts is kept.\nThese chose the epoch and the seed: its figures on them are optimistic,"
        " the mean less so.",
        "",
        *heads,
        *rows,
        f"| mean | | {accuracy.mean:.4f} | {macro_f1.mean:.4f} | | |",
        f"| minimum to maximum | | {_range(accuracy)} | {_range(macro_f1)} | | |",
        f"| standard deviation | | {accuracy.deviation:.4f} | {macro_f1.deviation:.4f} | | |",
    ]


def _seed(seed: int, report: FitReport, *, is_kept: bool) -> str:
    best = report.best
    shown = (
        ("", "", "", "")
        if best is None
        else (
            str(best.number),
            _loss(best.held_out_accuracy),
            _loss(best.held_out_macro_f1),
            _loss(best.held_out_loss),
        )
    )
    return f"| {seed} | {' | '.join(shown)} | {'yes' if is_kept else ''} |"


def _range(spread: Spread) -> str:
    return f"{spread.low:.4f} to {spread.high:.4f}"


def _origin(report: FitReport, base: str, data: str) -> str:
    date = datetime.now(UTC).date().isoformat()
    stopped = " It was interrupted; this is its best epoch." * report.was_interrupted
    return (
        f"Made by streamlabel {__version__} on {date} from `{base}`, fine-tuned to"
        f" {report.examples:,} texts\nof `{data}`.{stopped}"
    )


def _course(report: FitReport, labels: Sequence[str], settings: FitSettings) -> str:
    epochs = "\n".join(
        f"| {e.number} | {e.loss:.4f} | {_loss(e.held_out_loss)} | {_loss(e.held_out_accuracy)} |"
        f" {_loss(e.held_out_macro_f1)} | {'yes' if e.is_best else ''} |"
        for e in report.epochs
    )
    names = "\n".join(f"- {name}" for name in labels)
    return f"""\
Labels:

{names}

| epoch | training loss | held-out loss | held-out accuracy | macro F1 | best so far |
| ---: | ---: | ---: | ---: | ---: | --- |
{epochs}

Settings: at most {settings.epochs} epochs (patience {settings.patience}), learning rate \
{settings.learning_rate:g}, {settings.batch_items} texts a step, {settings.max_tokens} tokens each,
{settings.precision}, seed {settings.seed};"""


def _advice(options: str) -> str:
    return f"""
Its confidences are not calibrated. Before using them:

    streamlabel evaluate  {options} --data dev.jsonl
    streamlabel calibrate {options} --data dev.jsonl
"""


def _loss(loss: float | None) -> str:
    return "" if loss is None else f"{loss:.4f}"
