"""Options that the training commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = [
    "Base",
    "Data",
    "Dev",
    "Epochs",
    "Out",
    "Overwrite",
    "Patience",
    "Precision",
    "Seed",
]

Data = Annotated[
    Path,
    typer.Option(
        "--data",
        metavar="FILE",
        help="Labelled texts: .jsonl or .csv with text and label (labels for several).",
        show_default=False,
    ),
]
Base = Annotated[
    str,
    typer.Option("--base", metavar="MODEL", help="Pretrained model: a folder.", show_default=False),
]
Out = Annotated[
    Path, typer.Option("--out", "-o", metavar="FOLDER", help="The model.", show_default=False)
]
Dev = Annotated[
    Path | None,
    typer.Option(
        "--dev",
        metavar="FILE",
        help="Held-out texts that say when to stop. Default: a tenth of --data.",
        show_default=False,
    ),
]
Epochs = Annotated[int, typer.Option(min=1, help="At most.")]
Patience = Annotated[
    int, typer.Option(min=1, help="Stop after so many epochs without a better one.")
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same model.")]
Precision = Annotated[
    Literal["auto", "float32", "bfloat16"],
    typer.Option(help="Of products; auto: bfloat16 where the processor has it."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the model in FOLDER.")]
