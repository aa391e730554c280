"""A LoRA adapter from a separate folder, merged into a language model."""

import hashlib
import warnings
from pathlib import Path
from typing import Any, Final

from streamlabel.errors import ConfigError, ModelLoadError
from streamlabel.models.files.transformers_errors import one_line, unusable
from streamlabel.models.files.whole_model import refuse_not_finite

__all__ = ["ADAPTER_WEIGHTS", "adapter_version", "refuse_missing_adapter", "with_adapter"]

ADAPTER_WEIGHTS: Final = "adapter_model.safetensors"


def refuse_missing_adapter(folder: Path) -> None:
    """Raise ConfigError unless ``folder`` is an adapter that can be read without running code."""
    if not (folder / "adapter_config.json").is_file():
        raise ConfigError(
            f"model.adapter: there is no adapter_config.json in {folder}; name the folder that"
            " peft's save_pretrained wrote"
        )
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise ConfigError(
            f"model.adapter: there is no {ADAPTER_WEIGHTS} in {folder}; a .bin file can run code"
            " when it is read: save the adapter with safe_serialization"
        )


def adapter_version(folder: Path) -> tuple[str, int]:
    """Return the name and the id by which an engine knows this version of an adapter. Blocks.

    Another version has other ones, even in the same folder: engines that are asked for a name or an
    id that they have keep the weights of before, and cached prefixes belong to a name.

    Returns:
        The folder's name with a part of the digest of its files, and a number in [1, 2**31).
    """
    digest = hashlib.sha256()
    for name in ("adapter_config.json", ADAPTER_WEIGHTS):
        digest.update((folder / name).read_bytes())
    number = int.from_bytes(digest.digest()[:4], "big") & 0x7FFF_FFFF
    return f"{folder.name}-{digest.hexdigest()[:12]}", max(number, 1)


def with_adapter(model: Any, folder: Path) -> Any:  # noqa: ANN401 untyped library
    """Merge a LoRA adapter into the weights, so that it costs nothing at run time.

    Raises:
        ModelLoadError: the adapter does not belong to this model, or makes weights infinite or NaN.
    """
    from peft import PeftModel

    try:
        with warnings.catch_warnings():
            # peft only warns of missing weights; a second call below lists them
            warnings.simplefilter("ignore", UserWarning)
            adapted = PeftModel.from_pretrained(model, folder)
            report = adapted.load_adapter(folder, "default")
    except unusable() as error:
        raise ModelLoadError(
            f"model.adapter: {folder.name} does not fit the model ({type(error).__name__}:"
            f" {one_line(error)}); name an adapter that was trained on it"
        ) from error
    wrong = sorted({*report.missing_keys, *report.unexpected_keys})
    if wrong:
        raise ModelLoadError(
            f"model.adapter: {folder.name} does not fit the model: {wrong[0]} ({len(wrong)} in all)"
            " is in only one of the two; name an adapter that was trained on it"
        )
    merged = adapted.merge_and_unload()
    refuse_not_finite(f"the model with the adapter {folder.name}", merged.state_dict().items())
    return merged
