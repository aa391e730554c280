"""The README of a trained model: its kind, training data and settings, and losses."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from streamlabel import __version__
from streamlabel.models.core.labels import LabelSet
from streamlabel.training.fit_settings import FitReport, FitSettings

__all__ = ["answers_card", "model_card"]

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
    report: FitReport, labels: LabelSet, settings: FitSettings, *, base: str, data: str
) -> str:
    """Return the card as Markdown with the front matter that model hubs read."""
    problem = labels.problem_type.replace("_", "-")
    layers = "all" if settings.trained_layers is None else str(settings.trained_layers)
    return "\n".join(
        [
            _ENCODER.format(problem=problem, origin=_origin(report, base, data)),
            _course(report, labels.names, settings),
            f"trained layers: {layers}, class weights: {settings.class_weights}.",
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
) -> str:
    """Return the card of a language model, or of an adapter for one."""
    form = _WHOLE if method == "full" else _ADAPTER
    return "\n".join(
        [
            form.format(base=base, origin=_origin(report, base, data)),
            _course(report, labels, settings),
            f"method: {method}; the loss is that of the answer's token, the labels were listed in"
            " many orders.",
            _advice("-c streamlabel.yaml"),
        ]
    )


def _origin(report: FitReport, base: str, data: str) -> str:
    date = datetime.now(UTC).date().isoformat()
    stopped = " It was interrupted; this is its best epoch." * report.was_interrupted
    return (
        f"Made by streamlabel {__version__} on {date} from `{base}`, fine-tuned to"
        f" {report.examples:,} texts\nof `{data}`.{stopped}"
    )


def _course(report: FitReport, labels: Sequence[str], settings: FitSettings) -> str:
    epochs = "\n".join(
        f"| {e.number} | {e.loss:.4f} | {_loss(e.held_out_loss)} | {'yes' if e.is_best else ''} |"
        for e in report.epochs
    )
    names = "\n".join(f"- {name}" for name in labels)
    return f"""\
Labels:

{names}

| epoch | training loss | held-out loss | best so far |
| ---: | ---: | ---: | --- |
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
