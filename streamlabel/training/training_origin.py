"""What a training is made of, to compare a state with what it is continued with."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from streamlabel import __version__
from streamlabel.models.devices.device import library_versions
from streamlabel.models.files.checkpoint import Checkpoint
from streamlabel.models.files.digest import model_digest
from streamlabel.training.fit_settings import Example, FitSettings
from streamlabel.training.state_files import hashed

__all__ = ["origin_of", "seeded", "versions_of"]


def origin_of(
    examples: Sequence[Example],
    held_out: Sequence[Example],
    *,
    base: Checkpoint,
    settings: FitSettings,
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what decides the weights of a training, by name; takes a second for each GB of base.

    Args:
        examples: in their order.
        held_out: in their order.
        base: the model that it begins with.
        settings: of the training. The limit of time may change when it goes on.
        more: the rest, as JSON has it.
    """
    given = asdict(replace(settings, minutes=None))
    return {
        "the training texts": _hash_of(examples),
        "the held-out texts": _hash_of(held_out),
        "the base": hashed(model_digest(base.folder, None, weights=base.weights().paths)),
        **{name: value for name, value in given.items() if name != "minutes"},
        **json.loads(json.dumps(dict(more))),
    }


def seeded(origin: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return the same with another seed."""
    return {**origin, "seed": seed}


def versions_of() -> dict[str, str]:
    """Return the versions of the libraries that a training computes with."""
    names = ("torch", "transformers", "tokenizers", "peft")
    return {"streamlabel": __version__} | library_versions(*names)


def _hash_of(examples: Iterable[Example]) -> str:
    rows = [(each.text, each.right, each.weight) for each in examples]
    return hashed(json.dumps(rows))
