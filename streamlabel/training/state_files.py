"""Files of a training's state: whole or absent after a crash, and noticed if they are damaged.

Tensors are in safetensors files, the rest is JSON: neither can run code.
"""

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

__all__ = [
    "hashed",
    "is_hash",
    "read_json",
    "read_tensors",
    "tensor_of",
    "text_of",
    "write_json",
    "write_tensors",
]

_SCHEMA: Final = "streamlabel.training_state/v1"
_HASH: Final = "sha256:"


def write_tensors(folder: Path, name: str, tensors: Mapping[str, Any]) -> dict[str, str]:
    """Write tensors to a file, and return what ``read_tensors`` needs.

    Raises:
        OSError: it cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    plain: dict[str, Any] = {}
    places: set[int] = set()
    for key, value in tensors.items():
        # safetensors reads the memory of a tensor, which a device may not show
        tensor = value.detach().cpu().contiguous()
        place = tensor.untyped_storage().data_ptr()
        plain[key] = tensor.clone() if place in places else tensor  # it refuses shared memory
        places.add(place)
    partial = folder / f"{name}.partial"
    try:
        save_file(plain, partial)
    except SafetensorError as error:  # that of a full disk, for one
        raise OSError(str(error)) from error
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(folder / name)
    return {"file": name, "hash": _hash_of(folder / name)}


def read_tensors(folder: Path, kept: Mapping[str, str]) -> dict[str, Any]:
    """Return the tensors of a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not what was written.
    """
    from safetensors.torch import load_file

    path = folder / kept["file"]
    if _hash_of(path) != kept["hash"]:
        raise ValueError("its content has another hash")
    # copies: a file that is mapped into memory may begin at any byte
    return {name: tensor.clone() for name, tensor in load_file(path).items()}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a file.

    Raises:
        OSError: it cannot be written.
    """
    text = json.dumps(content)
    whole = {"schema": _SCHEMA, "content": text, "hash": hashed(text)}
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(json.dumps(whole) + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # or a loss of power may undo the renames
    finally:
        os.close(folder)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the content of a file; None if there is none.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not what was written.
    """
    try:
        whole = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not isinstance(whole, dict) or not {"schema", "content", "hash"} <= whole.keys():
        raise ValueError("it is not the JSON object that was written")
    if whole["schema"] != _SCHEMA:
        raise ValueError(f"its schema is {whole['schema']}, not {_SCHEMA}")
    if hashed(str(whole["content"])) != whole["hash"]:
        raise ValueError("its content has another hash")
    content: dict[str, Any] = json.loads(whole["content"])
    return content


def hashed(content: str) -> str:
    """Return the hash of a text, marked as one."""
    return _HASH + hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def is_hash(value: object) -> bool:
    """Return whether a value is of ``hashed``."""
    return isinstance(value, str) and value.startswith(_HASH)


def text_of(tensor: Any) -> str:  # noqa: ANN401 a tensor
    """Return a tensor of bytes, the state of a generator, as text."""
    return base64.b64encode(tensor.cpu().numpy().tobytes()).decode("ascii")


def tensor_of(text: str) -> Any:  # noqa: ANN401 a tensor
    """Return the tensor of bytes of ``text_of``."""
    import torch

    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)


def _hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return _HASH + hashlib.file_digest(file, "sha256").hexdigest()
