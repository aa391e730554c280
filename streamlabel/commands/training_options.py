"""Options that the training commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = [
    "Base",
    "ClassWeights",
    "Data",
    "Dev",
    "Epochs",
    "Minutes",
    "Out",
    "Overwrite",
    "Patience",
    "PrecisionOption",
    "Resume",
    "Seed",
    "Seeds",
]

Data = Annotated[
    Path,
    typer.Option(
        "--data",
        metavar="FILE",
        help="Labelled texts: .jsonl or .csv with the fields text and label (labels in a"
        " multi-label task).",
        show_default=False,
    ),
]
Base = Annotated[
    str,
    typer.Option(
        "--base", metavar="MODEL", help="Folder of the pretrained model.", show_default=False
    ),
]
Out = Annotated[
    Path,
    typer.Option(
        "--out", "-o", metavar="FOLDER", help="Folder to write the model to.", show_default=False
    ),
]
Dev = Annotated[
    Path | None,
    typer.Option(
        "--dev",
        metavar="FILE",
        help="Held-out labelled texts for early stopping. Default: a tenth of --data.",
        show_default=False,
    ),
]
Epochs = Annotated[int, typer.Option(min=1, help="Maximum number of epochs.")]
Minutes = Annotated[
    float | None,
    typer.Option(
        "--minutes",
        min=0,
        help="Begin no epoch that would end after so many minutes, going by the ones before; with"
        " --seeds for each seed.",
        show_default=False,
    ),
]
Patience = Annotated[
    int, typer.Option(min=1, help="Stop after this many epochs without improvement.")
]
Seed = Annotated[
    int,
    typer.Option(
        help="Random seed, also of the held-out texts without --dev. The same seed gives the same"
        " model."
    ),
]
Seeds = Annotated[
    str | None,
    typer.Option(
        "--seeds",
        metavar="N|LIST",
        help="Train with several seeds, report how their accuracies spread, and keep the model"
        " with the highest one on held-out texts: how many seeds, counted from --seed on, or a"
        " list such as 17,23,42.",
        show_default=False,
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on with a training that was stopped, from its state in FOLDER.training; without a"
        " state, begin.",
    ),
]
PrecisionOption = Annotated[
    Literal["auto", "float32", "bfloat16"],
    typer.Option(help="Data type of matrix products. auto: bfloat16 where it is faster."),
]
ClassWeights = Annotated[
    Literal["none", "balanced"],
    typer.Option(
        help="Weight of each label in the loss. balanced: rare labels count as much as"
        " frequent ones."
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the model that is already in FOLDER.")
]
