"""What every training command does: read texts, refuse to overwrite, say how it goes."""

import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import typer

from streamlabel.commands.terminal import say
from streamlabel.consumer.reading_aloud import printable
from streamlabel.errors import ConfigError
from streamlabel.models.fit_settings import EpochReport, Example, FitReport
from streamlabel.quality.labelled import (
    LabelledText,
    labels_in,
    read_labelled,
    refuse_overlap,
    refuse_single_class,
    unseen,
)

__all__ = ["examples", "finish", "learned_and_held", "line", "named", "refuse_taken"]

# Fewer cannot be learned from and measured on.
_LEAST_TEXTS = 20
_SHOWN_LABELS = 10


def refuse_taken(out: Path, *, overwrite: bool) -> None:
    """Raise ConfigError unless ``out`` is free, or a model that may be replaced."""
    if not out.exists():
        if not out.resolve().parent.is_dir():
            raise ConfigError(f"{out}: there is no folder {out.resolve().parent}")
        return
    if not any((out / name).is_file() for name in ("config.json", "adapter_config.json")):
        raise ConfigError(f"{out} is there already and is no model folder; choose another --out")
    if not overwrite:
        raise ConfigError(f"{out} holds a model already; choose another --out, or --overwrite")


def learned_and_held(
    data: Path,
    dev: Path | None,
    *,
    known: Sequence[str] | None = None,
    several: bool = False,
    seed: int,
) -> tuple[list[LabelledText], list[LabelledText]]:
    """Return what to learn from and what to hold out: ``dev``, or a tenth of ``data``.

    Raises:
        ConfigError: a file is refused, or there are too few texts.
    """
    texts = read_labelled(data, known=known, several=several)
    refuse_single_class(texts, data)
    if dev is not None:
        held = read_labelled(dev, known=known or labels_in(texts), several=several)
        refuse_overlap(held, dev, texts, data)
        return texts, held
    if len(texts) < _LEAST_TEXTS:
        raise ConfigError(
            f"{data.name}: {len(texts)} texts are too few to learn from and to hold some out; some"
            " hundreds are a beginning"
        )
    random.Random(seed).shuffle(texts)  # noqa: S311 no secret
    cut = max(2, len(texts) // 10)
    held = texts[:cut]
    rest = unseen(texts[cut:], held)  # a text that is there twice must not measure what it taught
    lost = sorted(set(labels_in(texts)) - set(labels_in(rest)))
    if lost:
        raise ConfigError(f"{data.name}: too few texts of {', '.join(lost)}; add other ones")
    return rest, held


def examples(texts: Iterable[LabelledText]) -> list[Example]:
    """Return the texts as a fit takes them."""
    return [Example(text.text, labels=text.labels) for text in texts]


def named(labels: Sequence[str]) -> str:
    """Return labels for people."""
    shown = ", ".join(map(printable, labels[:_SHOWN_LABELS]))
    more = len(labels) - _SHOWN_LABELS
    return shown + (f" and {more} more" if more > 0 else "")


def line(epoch: EpochReport) -> str:
    """Return how an epoch went, for people."""
    held = "" if epoch.held_out_loss is None else f", held out {epoch.held_out_loss:.4f}"
    return f"epoch {epoch.number}: loss {epoch.loss:.4f}{held}" + (" *" if epoch.is_best else "")


def finish(report: FitReport) -> None:
    """Say where the model is; exit 130 after Ctrl-C."""
    if report.was_interrupted:
        say(f"interrupted; the best epoch so far is in {report.folder}")
        raise typer.Exit(130)
    say(f"written to {report.folder} after {report.fit_s:.0f} s; streamlabel evaluate measures it")
