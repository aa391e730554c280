"""Which model it is: one digest over everything that decides its answers."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from streamlabel.models.labels import LabelSet

__all__ = ["model_digest"]

# What transformers reads when it builds a tokenizer or a model; a README or an optimiser state
# beside them does not change an answer.
DECISIVE = (
    "*.safetensors",
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "*.model",
)
READ_BYTES = 1 << 20  # large enough that sha256 runs without the interpreter lock


def model_digest(folder: Path, labels: LabelSet) -> str:
    """Return the SHA-256 over weights, tokenizer and label names of a model folder.

    Equal digests mean equal models. Names and sizes are hashed with the content, so that moving
    bytes from one file to the next changes the digest. Runs at the speed of SHA-256 (about
    1 GB/s), mostly without the interpreter lock, so it can run beside loading.
    """
    digest = hashlib.sha256()
    for path in _decisive_files(folder):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        with path.open("rb", buffering=0) as file:
            while block := file.read(READ_BYTES):
                digest.update(block)
    for name in (labels.problem_type, *labels.names):
        digest.update(f"{len(name)}\0{name}\0".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _decisive_files(folder: Path) -> Iterable[Path]:
    found = {path.name: path for pattern in DECISIVE for path in folder.glob(pattern)}
    return [found[name] for name in sorted(found)]
