"""A LoRA adapter on vLLM: the rank that an engine must allow, and what names it in requests."""

import json
from pathlib import Path
from typing import Any, Final

from streamlabel.errors import ConfigError
from streamlabel.models.llm.adapter import adapter_version

__all__ = ["adapter_rank", "adapter_request"]

# Values that vLLM accepts as maximum rank of an adapter.
_RANKS: Final = (8, 16, 32, 64, 128, 256, 320, 512)


def adapter_rank(folder: Path) -> int:
    """Return the maximum rank that an engine must be started with for this adapter.

    Raises:
        ConfigError: its adapter_config.json cannot be read, or the rank is too large.
    """
    try:
        rank = int(json.loads((folder / "adapter_config.json").read_bytes())["r"])
        return next(allowed for allowed in _RANKS if allowed >= rank)
    except OSError as error:
        raise ConfigError(
            f"model.adapter: there is no adapter_config.json in {folder}; name the folder that"
            " peft's save_pretrained wrote"
        ) from error
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise ConfigError(
            f"model.adapter: adapter_config.json in {folder} names no rank up to {_RANKS[-1]};"
            " name a LoRA adapter"
        ) from error


def adapter_request(folder: str | None) -> Any:  # noqa: ANN401 untyped library
    """Return the LoRARequest for every request of an engine; None without an adapter."""
    if folder is None:
        return None
    from vllm.lora.request import LoRARequest

    path = Path(folder).expanduser()
    name, number = adapter_version(path)
    return LoRARequest(name, number, str(path.resolve()))
