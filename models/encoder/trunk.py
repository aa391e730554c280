"""Which encoders have the same trunk: all weights below the head, computed in the same way.

Models that were fine-tuned with a frozen encoder, as ``streamlabel train`` does it, differ only in
their heads. What counts is the content of the files, not the names of their folders: the bytes of
the weights and of the tokenizer, and all of config.json that affects the computation.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from streamlabel.config.model import EncoderSettings
from streamlabel.errors import ModelLoadError, StreamlabelError
from streamlabel.models.encoder.packed_weights import Unpacked, family_of
from streamlabel.models.encoder.weight_shapes import read_sizes, trunk_weights
from streamlabel.models.files.checkpoint import Checkpoint, open_checkpoint
from streamlabel.models.files.digest import DECISIVE, READ_BYTES

__all__ = ["Sharing", "find_shared_trunks", "trunk_digest"]

# What config.json says about the head or about how it was made; all other keys must be equal.
_OF_THE_HEAD: Final = frozenset(
    {
        "_name_or_path", "classifier_dropout", "dtype", "finetuning_task", "id2label", "label2id",
        "num_labels", "problem_type", "seq_classif_dropout", "torch_dtype", "transformers_version",
    }
)  # fmt: skip
# Settings of a model that may differ between models that are computed together: those of its head.
_MAY_DIFFER: Final = frozenset({"backend", "path", "revision", "labels", "problem_type"})


@dataclass(frozen=True, slots=True)
class Sharing:
    """Which models are computed together.

    Attributes:
        groups: names of models that share a trunk; each has at least two.
        apart: what keeps models with the same trunk apart, a sentence each.
    """

    groups: tuple[tuple[str, ...], ...] = ()
    apart: tuple[str, ...] = ()


def find_shared_trunks(models: Mapping[str, object]) -> Sharing:
    """Return which of these models share a trunk. Reads their weights, if there are candidates.

    Only folders are compared, and only on a CPU, where the packed forward pass computes them. What
    cannot be read is left out, because loading it reports what is wrong.

    Args:
        models: the section ``model`` of each, by any name.
    """
    encoders = {
        name: model
        for name, model in models.items()
        if isinstance(model, EncoderSettings)
        and model.device in {"auto", "cpu"}
        and Path(model.path).expanduser().is_dir()
    }
    similar = _grouped({name: _likeness(model) for name, model in encoders.items()})
    same = [
        names
        for candidates in similar
        for names in _grouped({name: _digest(encoders[name]) for name in candidates})
    ]
    groups: list[tuple[str, ...]] = []
    apart: list[str] = []
    for names in same:
        settings = {
            name: json.dumps(_settings(encoders[name]), sort_keys=True, default=str)
            for name in names
        }
        groups += _grouped(settings)
        first = names[0]
        apart += [
            _difference(first, name, encoders[first], encoders[name])
            for name in names[1:]
            if settings[name] != settings[first]
        ]
    return Sharing(tuple(groups), tuple(apart))


def trunk_digest(checkpoint: Checkpoint) -> str:
    """Return the SHA-256 of the names, types, shapes and bytes of all weights below the head.

    Raises:
        Unpacked: it is no model of a packed family.
        ModelLoadError: its weights cannot be read.
    """
    family = family_of(checkpoint.config)
    try:
        names = trunk_weights(family, read_sizes(family, checkpoint.config))
    except ValueError as error:
        raise Unpacked(f"config.json: {error}") from error
    digest = hashlib.sha256()
    places = _places(checkpoint)
    for name in sorted(names):
        if name not in places:
            raise Unpacked(f"the weight {name} is missing")
        path, kind, start, end = places[name]
        digest.update(f"{name}\0{kind}\0{end - start}\0".encode())
        for block in _blocks(path, start, end):
            digest.update(block)
    return digest.hexdigest()


def _likeness(model: EncoderSettings) -> str | None:
    """Return a digest of config.json, without the head, and the tokenizer's files; None: unknown.

    Cheap to compute, and different for most models that do not share a trunk.
    """
    try:
        checkpoint = open_checkpoint(model)
        family_of(checkpoint.config)
    except (StreamlabelError, Unpacked, OSError):
        return None
    config = {key: value for key, value in checkpoint.config.items() if key not in _OF_THE_HEAD}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    files = {
        path
        for pattern in DECISIVE
        if pattern != "config.json"
        for path in checkpoint.folder.glob(pattern)
    }
    for path in sorted(files):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _digest(model: EncoderSettings) -> str | None:
    try:
        return trunk_digest(open_checkpoint(model))
    except (StreamlabelError, Unpacked, OSError):
        return None


def _grouped(keys: Mapping[str, str | None]) -> list[tuple[str, ...]]:
    """Return the names with equal keys, where there are at least two."""
    found: dict[str, list[str]] = {}
    for name, key in keys.items():
        if key is not None:
            found.setdefault(key, []).append(name)
    return [tuple(names) for names in found.values() if len(names) > 1]


def _settings(model: EncoderSettings) -> dict[str, Any]:
    return model.model_dump(exclude=set(_MAY_DIFFER))


def _difference(one: str, other: str, ones: EncoderSettings, others: EncoderSettings) -> str:
    mine, theirs = _settings(ones), _settings(others)
    listed = ", ".join(
        f"{key} ({mine[key]} and {theirs[key]})" for key in mine if mine[key] != theirs[key]
    )
    return f"{one} and {other} have the same encoder, but other settings, so each computes it:" + (
        f" {listed}; make them equal to compute it once"
    )


def _places(checkpoint: Checkpoint) -> dict[str, tuple[Path, str, int, int]]:
    """Return name -> file, type and shape, and the first and last byte of each weight."""
    places: dict[str, tuple[Path, str, int, int]] = {}
    for path in checkpoint.weights().paths:
        try:
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header: dict[str, Any] = json.loads(file.read(min(length, path.stat().st_size)))
            for name, about in header.items():
                if name != "__metadata__":
                    start, end = (int(offset) + 8 + length for offset in about["data_offsets"])
                    places[name] = (path, f"{about['dtype']}{about['shape']}", start, end)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelLoadError(
                f"model.path: {path} cannot be read ({type(error).__name__}); copy the model again"
            ) from error
    return places


def _blocks(path: Path, start: int, end: int) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while start < end and (block := file.read(min(READ_BYTES, end - start))):
            start += len(block)
            yield block
