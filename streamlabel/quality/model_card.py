"""The README of a trained model: what it is, what it was made of, how good it was."""

from datetime import UTC, datetime

from streamlabel import __version__
from streamlabel.models.fit_settings import FitReport, FitSettings
from streamlabel.models.labels import LabelSet

__all__ = ["model_card"]


def model_card(
    report: FitReport, labels: LabelSet, settings: FitSettings, *, base: str, data: str
) -> str:
    """Return the card as Markdown with the front matter that model hubs read."""
    epochs = "\n".join(
        f"| {e.number} | {e.loss:.4f} | {_loss(e.held_out_loss)} | {'yes' if e.is_best else ''} |"
        for e in report.epochs
    )
    names = "\n".join(f"- {name}" for name in labels.names)
    layers = "all" if settings.trained_layers is None else str(settings.trained_layers)
    date = datetime.now(UTC).date().isoformat()
    stopped = " It was interrupted: the best epoch until then is here." * report.was_interrupted
    return f"""\
---
library_name: transformers
pipeline_tag: text-classification
---

# Text classifier ({labels.problem_type.replace("_", "-")})

Made by streamlabel {__version__} on {date} from `{base}`, fine-tuned to {report.examples:,} texts
of `{data}`.{stopped} An ordinary model folder: streamlabel, transformers and vLLM load it.

Labels:

{names}

| epoch | training loss | held-out loss | best so far |
| ---: | ---: | ---: | --- |
{epochs}

Settings: at most {settings.epochs} epochs (patience {settings.patience}), learning rate \
{settings.learning_rate:g}, {settings.batch_items} texts a step, {settings.max_tokens} tokens each,
trained layers: {layers}, class weights: {settings.class_weights}, seed {settings.seed}.

Its confidences are uncalibrated. Before they decide anything:

    streamlabel evaluate  --set model.backend=encoder --set model.path=FOLDER --data dev.jsonl
    streamlabel calibrate --set model.backend=encoder --set model.path=FOLDER --data dev.jsonl
"""


def _loss(loss: float | None) -> str:
    return "" if loss is None else f"{loss:.4f}"
