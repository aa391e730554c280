"""Options that the training commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = [
    "Base",
    "Data",
    "Dev",
    "Epochs",
    "Minutes",
    "Out",
    "Overwrite",
    "Patience",
    "PrecisionOption",
    "Seed",
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
        help="Begin no epoch that would end after so many minutes, going by the ones before.",
        show_default=False,
    ),
]
Patience = Annotated[
    int, typer.Option(min=1, help="Stop after this many epochs without improvement.")
]
Seed = Annotated[int, typer.Option(help="Random seed. The same seed gives the same model.")]
PrecisionOption = Annotated[
    Literal["auto", "float32", "bfloat16"],
    typer.Option(help="Data type of matrix products. auto: bfloat16 if the processor supports it."),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the model that is already in FOLDER.")
]
