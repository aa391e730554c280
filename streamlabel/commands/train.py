"""``streamlabel train encoder``: a classifier from labelled texts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from streamlabel.models.fit_settings import EpochReport, Example
    from streamlabel.models.labels import LabelSet
    from streamlabel.quality.labelled import LabelledText

__all__ = ["train_encoder"]


def train_encoder(
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            metavar="FILE",
            help="Labelled texts: .jsonl or .csv with text and label (labels for several).",
            show_default=False,
        ),
    ],
    base: Annotated[
        str,
        typer.Option(
            "--base",
            metavar="MODEL",
            help="Pretrained encoder: a folder or a hub id.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="FOLDER", help="The model.", show_default=False),
    ],
    *,
    dev: Annotated[
        Path | None,
        typer.Option(
            "--dev",
            metavar="FILE",
            help="Held-out texts that say when to stop. Default: a tenth of --data.",
            show_default=False,
        ),
    ] = None,
    problem: Annotated[
        Literal["single-label", "multi-label"],
        typer.Option("--problem", help="multi-label: a text may have any number of labels."),
    ] = "single-label",
    epochs: Annotated[int, typer.Option(min=1, help="At most.")] = 8,
    patience: Annotated[
        int, typer.Option(min=1, help="Stop after so many epochs without a better one.")
    ] = 2,
    trained_layers: Annotated[
        int, typer.Option(min=-1, help="Upper layers that learn; -1: all, embeddings too.")
    ] = -1,
    learning_rate: Annotated[float, typer.Option(min=0, help="The highest one.")] = 1e-4,
    batch_items: Annotated[int, typer.Option("--batch", min=1, help="Texts per step.")] = 32,
    max_tokens: Annotated[int, typer.Option(min=8, help="Longer texts are cut.")] = 128,
    class_weights: Annotated[
        Literal["none", "balanced"],
        typer.Option(help="balanced: rare labels count as much as frequent ones."),
    ] = "none",
    seed: Annotated[int, typer.Option(help="The same seed gives the same model.")] = 17,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the model in FOLDER.")
    ] = False,
) -> None:
    """Fine-tune an encoder to labelled texts; the best epoch on held-out texts is saved.

    Ctrl-C saves what was best so far. Needs streamlabel[encoder].

    \b
    Examples:
      streamlabel train encoder --data train.jsonl --base ./minilm --out ./model
      streamlabel train encoder --data train.csv --dev dev.csv --base ./minilm --out ./model \\
        --class-weights balanced --epochs 4
    """  # noqa: D301 \b keeps the lines as they are
    from streamlabel.commands.terminal import progress, say
    from streamlabel.config.model import EncoderSettings
    from streamlabel.errors import ConfigError
    from streamlabel.models.checkpoint import open_checkpoint
    from streamlabel.models.fit_settings import FitSettings
    from streamlabel.models.head import fit_head
    from streamlabel.models.labels import LabelSet
    from streamlabel.quality.labelled import labels_in
    from streamlabel.quality.model_card import model_card

    _refuse_taken(out, overwrite=overwrite)
    several = problem == "multi-label"
    train, held = _texts(data, dev, several=several, seed=seed)
    labels = LabelSet(labels_in(train), "multi_label" if several else "single_label")
    checkpoint = open_checkpoint(EncoderSettings(path=base))
    settings = FitSettings(
        epochs=epochs,
        learning_rate=learning_rate,
        batch_items=batch_items,
        max_tokens=max_tokens,
        trained_layers=None if trained_layers < 0 else trained_layers,
        label_smoothing=0.0,
        class_weights=class_weights,
        patience=patience,
        seed=seed,
    )
    say(f"{len(train):,} texts to learn from, {len(held):,} held out; labels {_named(labels)}")
    total = epochs * -(-len(train) // batch_items)
    with progress("training", total=total) as update:
        report = fit_head(
            _examples(train),
            labels,
            encoder=checkpoint.folder,
            folder=out,
            settings=settings,
            held_out=_examples(held),
            on_step=lambda done, _total: update(done, ""),
            on_epoch=lambda epoch: say(_line(epoch)),
            card=lambda made: model_card(
                made, labels, settings, base=checkpoint.name, data=data.name
            ),
        )
    if report.was_interrupted:
        say(f"interrupted; the best epoch so far is in {out}")
        raise typer.Exit(130)
    if not report.epochs:  # pragma: no cover - epochs is at least 1
        raise ConfigError("no epoch was finished")
    say(f"written to {out} after {report.fit_s:.0f} s; streamlabel evaluate measures it")


def _refuse_taken(out: Path, *, overwrite: bool) -> None:
    from streamlabel.errors import ConfigError

    if not out.exists():
        if not out.resolve().parent.is_dir():
            raise ConfigError(f"{out}: there is no folder {out.resolve().parent}")
        return
    if not (out / "config.json").is_file():
        raise ConfigError(f"{out} is there already and is no model folder; choose another --out")
    if not overwrite:
        raise ConfigError(f"{out} holds a model already; choose another --out, or --overwrite")


def _texts(
    data: Path, dev: Path | None, *, several: bool, seed: int
) -> "tuple[list[LabelledText], list[LabelledText]]":
    """Return what to learn from and what to hold out."""
    import random

    from streamlabel.errors import ConfigError
    from streamlabel.quality.labelled import (
        labels_in,
        read_labelled,
        refuse_overlap,
        refuse_single_class,
    )

    texts = read_labelled(data, several=several)
    refuse_single_class(texts, data)
    if dev is not None:
        held = read_labelled(dev, known=labels_in(texts), several=several)
        refuse_overlap(held, dev, texts, data)
        return texts, held
    if len(texts) < 20:
        raise ConfigError(
            f"{data.name}: {len(texts)} texts are too few to learn from and to hold some out; some"
            " hundreds are a beginning"
        )
    random.Random(seed).shuffle(texts)  # noqa: S311 no secret
    cut = max(2, len(texts) // 10)
    held, rest = texts[:cut], texts[cut:]
    lost = sorted(set(labels_in(texts)) - set(labels_in(rest)))
    if lost:
        raise ConfigError(f"{data.name}: too few texts of {', '.join(lost)}; add some")
    return rest, held


def _examples(texts: "list[LabelledText]") -> "list[Example]":
    from streamlabel.models.fit_settings import Example

    return [Example(text.text, labels=text.labels) for text in texts]


def _named(labels: "LabelSet") -> str:
    from streamlabel.consumer.reading_aloud import printable

    shown = ", ".join(map(printable, labels.names[:10]))
    return shown + (f" and {len(labels) - 10} more" if len(labels) > 10 else "")


def _line(epoch: "EpochReport") -> str:
    held = "" if epoch.held_out_loss is None else f", held out {epoch.held_out_loss:.4f}"
    return f"epoch {epoch.number}: loss {epoch.loss:.4f}{held}" + (" *" if epoch.is_best else "")
