"""``streamlabel train base``: a small encoder with random weights, for any language."""

from pathlib import Path
from typing import Annotated

import typer

from streamlabel.commands.training_options import Out, Overwrite

__all__ = ["train_base"]


def train_base(
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            metavar="FILE",
            help="Labelled texts (.jsonl or .csv) that train encoder will learn from: the"
            " vocabulary is counted in them.",
            show_default=False,
        ),
    ],
    out: Out,
    *,
    pieces: Annotated[
        int, typer.Option(min=200, help="Maximum size of the vocabulary: characters and pieces.")
    ] = 8000,
    seed: Annotated[
        int,
        typer.Option(
            help="Random seed of the weights. Rare pieces of the vocabulary may differ between"
            " runs all the same."
        ),
    ] = 17,
    overwrite: Overwrite = False,
) -> None:
    """Make a small encoder for a language that no pretrained model at hand knows.

    Its two layers have random weights, and its tokenizer is made from your texts: it knows nothing
    yet, so that train encoder must learn all of it, from thousands of texts. A pretrained model of
    the language is better where there is one. Requires the extra encoder.

    \b
    Examples:
      streamlabel train base --data train.jsonl --out ./base
      streamlabel train encoder --data train.jsonl --base ./base --out ./model \\
        --epochs 10 --learning-rate 1e-3 --max-tokens 192 --label-smoothing 0.05
    """  # noqa: D301 \b keeps the lines as they are
    from streamlabel.commands.terminal import say
    from streamlabel.commands.training import refuse_taken
    from streamlabel.extras import require
    from streamlabel.quality.labelled import read_labelled
    from streamlabel.training.new_base import make_base

    require("train base", "torch", "transformers", "safetensors", "tokenizers", extra="encoder")
    refuse_taken(out, overwrite=overwrite)
    texts = read_labelled(data)
    found = make_base((text.text for text in texts), out, pieces=pieces, seed=seed)
    say(
        f"written to {out}: {found:,} pieces from {len(texts):,} texts, weights random; now"
        f" streamlabel train encoder --base {out}"
    )
