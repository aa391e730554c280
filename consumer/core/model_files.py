"""How large the files of models are."""

from pathlib import Path

from streamlabel.config.model import ModelSettings

__all__ = ["gib", "model_files_bytes"]


def model_files_bytes(model: ModelSettings) -> int:
    """Return the size of a model's weights. Blocks.

    Models without a folder of their own (remote ones, ids of a hub) count as nothing.
    """
    path = getattr(model, "path", None)
    folder = Path(str(path)).expanduser() if path else None
    if folder is None or not folder.is_dir():
        return 0
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def gib(size_bytes: int) -> str:
    """Return a size for people."""
    return f"{size_bytes / 2**30:.2f} GiB"
