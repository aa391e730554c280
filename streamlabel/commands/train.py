"""``streamlabel train encoder``: a classifier from labelled texts."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from streamlabel.commands.training_options import (
    Base,
    ClassWeights,
    Data,
    Dev,
    Epochs,
    Minutes,
    Out,
    Overwrite,
    Patience,
    PrecisionOption,
    Resume,
    Seed,
    Seeds,
)

__all__ = ["train_encoder"]

# Computed at once: a whole step of ordinary texts. Steps of longer ones are computed in parts, or
# those of a base for thousands of tokens would not fit into memory.
_PASS_TOKENS = 16_384


def train_encoder(
    data: Data,
    base: Base,
    out: Out,
    *,
    dev: Dev = None,
    problem: Annotated[
        Literal["single-label", "multi-label"],
        typer.Option(
            "--problem",
            help="single-label: every text has exactly one label; multi-label: any number of"
            " labels.",
        ),
    ] = "single-label",
    epochs: Epochs = 8,
    patience: Patience = 2,
    minutes: Minutes = None,
    trained_layers: Annotated[
        int,
        typer.Option(
            min=-1,
            help="Number of upper layers to train; the others are frozen. -1: train all layers"
            " and the embeddings.",
        ),
    ] = -1,
    learning_rate: Annotated[float, typer.Option(min=0, help="Peak learning rate.")] = 1e-4,
    batch_items: Annotated[
        int, typer.Option("--batch", min=1, help="Texts per training step.")
    ] = 32,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            min=8,
            help="Maximum tokens per text, in training and in serving. Longer texts are truncated."
            " Default: as in serving, the limit of the base. Fewer make training faster.",
            show_default=False,
        ),
    ] = None,
    class_weights: ClassWeights = "none",
    label_smoothing: Annotated[
        float,
        typer.Option(
            min=0, max=0.5, help="Share of each label that is spread over the others in the loss."
        ),
    ] = 0.0,
    precision: PrecisionOption = "auto",
    seed: Seed = 17,
    seeds: Seeds = None,
    verdicts: Annotated[
        Path | None,
        typer.Option(
            "--verdicts",
            metavar="FILE",
            help="Verdicts as JSON lines: the texts that reviewers decided are learned too, with"
            " the inverse of the probability of their review as weight. Needs --reviews.",
            show_default=False,
        ),
    ] = None,
    reviews: Annotated[
        Path | None,
        typer.Option(
            "--reviews",
            metavar="FILE",
            help="Review records as JSON lines, which have the texts of the verdicts.",
            show_default=False,
        ),
    ] = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
) -> None:
    """Fine-tune an encoder on labelled texts; the best epoch on held-out texts is saved.

    Ctrl-C and SIGTERM save the best epoch so far. A training that was stopped by anything goes on
    with --resume. Requires the extra encoder.

    \b
    Examples:
      streamlabel train encoder --data train.jsonl --base ./minilm --out ./model
      streamlabel train encoder --data train.csv --dev dev.csv --base ./minilm --out ./model \\
        --class-weights balanced --epochs 4
      streamlabel train encoder --data train.jsonl --base ./model --out ./better \\
        --verdicts verdicts.jsonl --reviews reviews.jsonl --minutes 30
      streamlabel train encoder --data train.jsonl --base ./minilm --out ./model --seeds 3 --resume
    """  # noqa: D301 \b keeps the lines as they are
    from streamlabel.commands.terminal import say
    from streamlabel.commands.training import (
        NO_PAIRS,
        examples,
        learned_and_held,
        limit_of,
        named,
        refuse_taken,
        remember,
        reviewed_texts,
        seeds_of,
        warn_unknown,
    )
    from streamlabel.commands.training_runs import Plan, train_with_seeds
    from streamlabel.config.model import EncoderSettings
    from streamlabel.extras import require
    from streamlabel.models.core.labels import LabelSet
    from streamlabel.models.devices.compute_type import fastest_precision
    from streamlabel.models.files.checkpoint import open_checkpoint
    from streamlabel.quality.labelled import labels_in
    from streamlabel.quality.model_card import model_card, source_of
    from streamlabel.training.fit_settings import FitReport, FitSettings
    from streamlabel.training.head import fit_head
    from streamlabel.training.training_origin import origin_of

    require("train encoder", "torch", "transformers", "safetensors", "tokenizers", extra="encoder")
    refuse_taken(out, overwrite=overwrite, resume=resume)
    all_seeds = seeds_of(seeds, seed)
    several = problem == "multi-label"
    train, held = learned_and_held(data, dev, several=several, seed=seed, refusal=NO_PAIRS)
    sources = [source_of(data, f"{len(train) + (0 if dev else len(held)):,} labelled texts")]
    if verdicts is not None or reviews is not None:
        more = reviewed_texts(verdicts, reviews, held, labels_in(train), several=several)
        train += more
        sources.append(source_of(verdicts or data, f"{len(more):,} texts that reviewers decided"))
    labels = LabelSet(labels_in(train), "multi_label" if several else "single_label")
    checkpoint = open_checkpoint(EncoderSettings(path=base))
    warn_unknown(checkpoint.folder, train)
    longest = EncoderSettings(path=base, max_tokens=max_tokens)
    settings = FitSettings(
        epochs=epochs,
        learning_rate=learning_rate,
        batch_items=batch_items,
        pass_tokens=_PASS_TOKENS,
        max_tokens=limit_of(checkpoint, longest),
        trained_layers=None if trained_layers < 0 else trained_layers,
        label_smoothing=label_smoothing,
        class_weights=class_weights,
        patience=patience,
        minutes=minutes,
        seed=seed,
        precision=fastest_precision() if precision == "auto" else precision,
    )
    say(f"{len(train):,} training texts, {len(held):,} held out; labels {named(labels.names)}")
    learned, kept = examples(train), examples(held)

    def fit(seed: int, folder: Path, **given: Any) -> FitReport:  # noqa: ANN401 see ``Fit``
        with_seed = replace(settings, seed=seed)
        return fit_head(
            learned, labels, encoder=checkpoint.folder, folder=folder, settings=with_seed,
            held_out=kept, **given,
        )  # fmt: skip

    def complete(folder: Path, kept_seed: int, reports: Mapping[int, FitReport]) -> None:
        card = model_card(
            reports[kept_seed], labels, replace(settings, seed=kept_seed), base=checkpoint.name,
            data=data.name, sources=sources, seeds=reports,
        )  # fmt: skip
        (folder / "README.md").write_text(card, encoding="utf-8")
        remember(folder, train, held, base=checkpoint.folder)

    about = {"labels": labels.names, "problem": problem}
    plan = Plan(
        out=out,
        seeds=all_seeds,
        origin=origin_of(learned, kept, base=checkpoint, settings=settings, more=about),
        steps=epochs * -(-len(train) // batch_items),
        held_out=len(held),
        complete=complete,
    )
    train_with_seeds(fit, plan)
