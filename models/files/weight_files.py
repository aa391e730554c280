"""The weight files of a folder: those that transformers reads, and no others."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from streamlabel.errors import ModelLoadError

__all__ = ["WeightFiles", "find_weights", "refuse_adapter"]

ONE_FILE: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
# Files that peft's save_pretrained writes. transformers applies an adapter in the folder of a model
# only if peft is installed, and ignores adapter weights without their configuration.
ADAPTER_FILES: Final = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """The files with the weights of a model.

    Attributes:
        paths: in the order in which they are read; a later file wins over an earlier one.
        index: the file that lists them; None if there is only one.
        others: *.safetensors files of the folder that are not read.
    """

    paths: tuple[Path, ...]
    index: Path | None
    others: tuple[Path, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Size of all of them."""
        return sum(path.stat().st_size for path in self.paths)

    def refuse_others(self, reader: str) -> None:
        """Raise ModelLoadError if another library would read other files than these.

        vLLM reads every *.safetensors file of a folder, or what the index lists if there is one.

        Args:
            reader: name of that library, for the message.
        """
        first = self.index or self.paths[0]
        is_listed = first.name == INDEX
        is_alone = not self.index and not self.others and not (first.parent / INDEX).exists()
        if is_listed or is_alone:
            return
        names = ", ".join(path.name for path in self.others) or INDEX
        raise ModelLoadError(
            f"model.path: {first.parent} has {names} beside {first.name}, and {reader} would read"
            " that too; move it to another folder"
        )


def refuse_adapter(folder: Path) -> None:
    """Raise ModelLoadError if the folder has an adapter, alone or beside its base.

    Whether transformers applies it depends on the libraries that are installed.
    """
    found = [name for name in ADAPTER_FILES if (folder / name).exists()]
    if not found:
        return
    if (folder / "config.json").exists():
        raise ModelLoadError(
            f"model.path: {folder} has an adapter beside its model ({', '.join(found)}): merge it"
            " into the weights (peft's merge_and_unload) and save the result, or move it to a"
            " folder of its own; a language model takes that folder as model.adapter"
        )
    raise ModelLoadError(
        f"model.path: {folder} is only an adapter ({', '.join(found)}): merge it into its base"
        " model (peft's merge_and_unload) and name the folder of the result, or for a language"
        " model name the base here and the adapter in model.adapter"
    )


def find_weights(folder: Path, config: Mapping[str, object]) -> WeightFiles:
    """Return the files that transformers' ``from_pretrained`` reads.

    This is the file that config.json names in ``transformers_weights``, else model.safetensors,
    else the files that model.safetensors.index.json lists.

    Args:
        folder: of the model.
        config: its config.json.

    Raises:
        ModelLoadError: there is none in a format that cannot run code, or one is missing.

    Source: ``_get_resolved_checkpoint_files`` in transformers/modeling_utils.py, 5.19.
    """
    named = config.get("transformers_weights")
    if named is not None:
        first = _inside(folder, named, "transformers_weights in config.json")
    elif (folder / ONE_FILE).is_file():
        first = folder / ONE_FILE
    elif (folder / INDEX).is_file():
        first = folder / INDEX
    else:
        raise ModelLoadError(_nothing(folder))
    is_index = first.name.endswith(".safetensors.index.json")
    paths = _listed(folder, first) if is_index else (first,)
    for path in paths:
        if path.suffix != ".safetensors":
            raise ModelLoadError(
                f"model.path: {first} names {path.name}, which is not a *.safetensors file: other"
                " formats can run code when they are read; convert it"
            )
        if not path.is_file():
            raise ModelLoadError(
                f"model.path: {path}, a part of the model's weights, is missing; copy it too"
            )
    others = tuple(path for path in sorted(folder.glob("*.safetensors")) if path not in paths)
    return WeightFiles(paths, first if is_index else None, others)


def _listed(folder: Path, index: Path) -> tuple[Path, ...]:
    try:
        content = json.loads(index.read_bytes())
        names = sorted(set(content["weight_map"].values()))
        content["metadata"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelLoadError(
            f"model.path: {index} cannot be read ({type(error).__name__}: {error}); save the model"
            " again"
        ) from error
    if not names:
        raise ModelLoadError(f"model.path: {index} lists no file; save the model again")
    return tuple(_inside(folder, name, index.name) for name in names)


def _inside(folder: Path, name: object, source: str) -> Path:
    """Return the path of a file, which must lie in the folder."""
    path = PurePosixPath(name) if isinstance(name, str) else None
    if path is None or path.is_absolute() or ".." in path.parts or not path.name:
        raise ModelLoadError(
            f"model.path: {source} names {name!r} in {folder}; it must be a file of that folder"
        )
    return folder / path


def _nothing(folder: Path) -> str:
    found = sorted(path.name for path in folder.glob("*.safetensors"))
    if found:
        return (
            f"model.path: {folder} has no {ONE_FILE} and no {INDEX}; {', '.join(found[:4])} would"
            f" not be read by transformers either: rename a single file to {ONE_FILE}, or save the"
            " model again"
        )
    if any(folder.glob("*.bin")):
        return (
            f"model.path: {folder} has its weights only as .bin, which can run code when it is"
            f" read; convert them to {ONE_FILE}"
        )
    return f"model.path: {folder} has no {ONE_FILE}; name a whole model"
