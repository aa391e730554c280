"""Texts that occur more than once, and the texts that a model was trained on.

Both make a calibration look better than it is: a copy is no new evidence, and a model has seen the
answers of its training texts. A trained model folder keeps keyed hashes of them, not the texts.
"""

import hashlib
import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError

from streamlabel.config.section import Section
from streamlabel.errors import ConfigError
from streamlabel.quality.labelled import LabelledText, plain

__all__ = ["FILE_NAME", "Distinct", "Seen", "distinct", "read_seen", "trained_on", "write_seen"]

FILE_NAME = "training_texts.json"

_KEY_BYTES = 16
# A false match among a million training texts and a million others has a chance of 1 in 10 million.
_HASH_BYTES = 8

Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]+$")]


@dataclass(frozen=True, slots=True)
class Distinct:
    """The first occurrence of each text, ignoring case and white space.

    Attributes:
        texts: in the order of the file.
        repeated: number of rows that were left out.
        contradictory: (first line, later line) of equal texts with other labels.
    """

    texts: tuple[LabelledText, ...]
    repeated: int
    contradictory: tuple[tuple[int, int], ...]


class Seen(Section):
    """The texts of one training."""

    key: Hex = Field(min_length=2 * _KEY_BYTES)
    trained: list[Hex]
    held_out: list[Hex]


class _SeenFile(Section):
    schema_: Literal["streamlabel.training_texts/v1"] = Field(
        "streamlabel.training_texts/v1", alias="schema"
    )
    trainings: list[Seen]


def distinct(texts: Sequence[LabelledText]) -> Distinct:
    """Return the distinct texts of a file; of equal ones the first, whatever its labels are.

    The first one is a random draw from the labels that people gave this text, so that label noise
    counts as often as it occurs.
    """
    first: dict[str, LabelledText] = {}
    contradictory = []
    for text in texts:
        found = first.setdefault(plain(text.text), text)
        if set(found.labels) != set(text.labels):
            contradictory.append((found.line, text.line))
    return Distinct(tuple(first.values()), len(texts) - len(first), tuple(contradictory))


def write_seen(
    folder: Path, trained: Iterable[str], held_out: Iterable[str], *, base: Path | None = None
) -> None:
    """Write the hashes of training texts into the folder of the model.

    Args:
        folder: of the trained model.
        trained: texts that weights were fitted to.
        held_out: texts that chose the best epoch.
        base: folder of the model that it began with, whose hashes are kept.
    """
    before = [] if base is None else _read(base)
    key = secrets.token_bytes(_KEY_BYTES)
    own = Seen(
        key=key.hex(),
        trained=sorted({_hash(key, text) for text in trained}),
        held_out=sorted({_hash(key, text) for text in held_out}),
    )
    file = _SeenFile(schema="streamlabel.training_texts/v1", trainings=[*before, own])
    partial = folder / f".{FILE_NAME}.partial"
    partial.write_text(json.dumps(file.model_dump(by_alias=True)) + "\n", encoding="utf-8")
    partial.replace(folder / FILE_NAME)


def read_seen(folders: Iterable[Path]) -> list[Seen]:
    """Return what models in these folders were trained on; empty if no folder says so.

    Raises:
        ConfigError: a file cannot be read.
    """
    return [training for folder in folders for training in _read(folder)]


def trained_on(
    texts: Sequence[LabelledText], seen: Sequence[Seen]
) -> tuple[list[LabelledText], list[LabelledText]]:
    """Return those of ``texts`` that were trained on, and those that chose the best epoch."""
    trained, held = [], []
    known = [(bytes.fromhex(s.key), frozenset(s.trained), frozenset(s.held_out)) for s in seen]
    for text in texts:
        hashes = [(_hash(key, text.text), one, other) for key, one, other in known]
        if any(found in one for found, one, _ in hashes):
            trained.append(text)
        elif any(found in other for found, _, other in hashes):
            held.append(text)
    return trained, held


def _read(folder: Path) -> list[Seen]:
    path = folder / FILE_NAME
    try:
        content = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error
    try:
        return _SeenFile.model_validate_json(content).trainings
    except ValidationError as error:
        raise ConfigError(
            f"{path}: is no list of training texts; train again, or remove the file if you know"
            " that your labelled texts were not trained on"
        ) from error


def _hash(key: bytes, text: str) -> str:
    content = plain(text).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, key=key, digest_size=_HASH_BYTES).hexdigest()
