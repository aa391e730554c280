"""Loads a causal language model with transformers: dtype, adapter, head."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamlabel.config.model import CausalSettings
from streamlabel.errors import ConfigError, ModelLoadError
from streamlabel.models.base import ModelInfo
from streamlabel.models.causal import CausalModel
from streamlabel.models.chat import Chat, load_chat
from streamlabel.models.checkpoint import Checkpoint, open_checkpoint
from streamlabel.models.devices import Device, choose_device, library_versions, limit_threads
from streamlabel.models.digest import model_digest
from streamlabel.models.labels import LabelSet

__all__ = ["LoadedCausal", "causal_digest", "choose_dtype", "open_causal"]


@dataclass(frozen=True, slots=True)
class LoadedCausal:
    """A language model with its tokenizer, ready to be asked.

    Attributes:
        model: on its device.
        chat: tokenizer and chat template.
        device: where it computes.
        name: as configured: the folder's last part or the hub id.
        dtype: of the weights.
        digest: of weights, adapter, tokenizer and label names.
        max_tokens: longest row.
        details: for ``streamlabel check``.
    """

    model: CausalModel
    chat: Chat
    device: Device
    name: str
    dtype: str
    digest: str
    max_tokens: int
    details: dict[str, str]

    def info(self, backend: str, *, prompt_version: str, details: dict[str, str]) -> ModelInfo:
        """Return what goes into every output."""
        return ModelInfo(
            name=self.name,
            backend=backend,
            device=self.device.name,
            dtype=self.dtype,
            digest=self.digest,
            max_tokens=self.max_tokens,
            prompt_version=prompt_version,
            versions=self.device.versions | library_versions("transformers", "tokenizers", "peft"),
            details=self.details | details,
        )


def open_causal(settings: CausalSettings, labels: LabelSet) -> LoadedCausal:
    """Load model, tokenizer and adapter of the settings; blocks.

    Raises:
        ConfigError: a setting does not fit the model or the machine.
        ModelLoadError: the model cannot be used; the message says why and what to do.
    """
    checkpoint = open_checkpoint(settings)
    if settings.adapter is not None:
        _refuse_missing_adapter(Path(settings.adapter).expanduser())
    with ThreadPoolExecutor(1, "digest") as beside:
        digest = beside.submit(causal_digest, checkpoint.folder, labels, settings.adapter)
        device = choose_device(settings.device)
        threads = limit_threads(settings.threads)
        chat = load_chat(
            checkpoint.folder, name=checkpoint.name, chat_template=settings.chat_template
        )
        checkpoint.refuse_other_vocabulary(chat.size)
        model = load_causal(checkpoint, settings, device, pad_id=chat.pad_id)
        details = {"threads": str(threads)} if device.kind == "cpu" else {}
        if settings.adapter is not None:
            details["adapter"] = Path(settings.adapter).name
        return LoadedCausal(
            model=model,
            chat=chat,
            device=device,
            name=checkpoint.name,
            dtype=choose_dtype(settings.dtype, device),
            digest=digest.result(),
            max_tokens=min(settings.max_tokens, model.max_positions or settings.max_tokens),
            details=details,
        )


def causal_digest(folder: Path, labels: LabelSet, adapter: str | None) -> str:
    """Return the SHA-256 over weights, adapter, tokenizer and label names."""
    digest = model_digest(folder, labels)
    if adapter is None:
        return digest
    path = Path(adapter).expanduser()
    config = path / "adapter_config.json"  # scales the adapter's weights
    parts = (
        digest,
        model_digest(path, labels),
        config.read_text("utf-8") if config.exists() else "",
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def choose_dtype(wanted: str, device: Device) -> str:
    """Return the dtype of the weights: never the checkpoint's, which transformers 5 would take."""
    if wanted != "auto":
        return wanted
    return "float32" if device.kind == "cpu" else "bfloat16"


def load_causal(
    checkpoint: Checkpoint, settings: CausalSettings, device: Device, *, pad_id: int
) -> CausalModel:
    """Return the model, ready on the device.

    Raises:
        ModelLoadError: not a causal language model, or weights of it are missing.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.set_verbosity_error()  # its report of what is missing is our error message
    logging.disable_progress_bar()
    dtype = getattr(torch, choose_dtype(settings.dtype, device))
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            checkpoint.folder,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=dtype,
            output_loading_info=True,
        )
    # What transformers raises for a folder it cannot use has no common base.
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, ImportError) as error:
        raise ModelLoadError(
            f"model.path: {checkpoint.name} is no language model that transformers can load"
            f" ({type(error).__name__}); name one"
        ) from error
    missing = sorted({*report["missing_keys"], *(key[0] for key in report["mismatched_keys"])})
    if missing:
        raise ModelLoadError(
            f"model.path: {checkpoint.name} has no weights for {missing[0]} ({len(missing)} in"
            " all); they would be random numbers. Name a whole model"
        )
    if settings.adapter is not None:
        model = _with_adapter(model, Path(settings.adapter).expanduser())
    model.eval()
    model.to(device.name)
    if settings.fp32_head and dtype != torch.float32:
        _widen_head(model)
    return CausalModel(model, device=device.name, pad_id=pad_id)


def _refuse_missing_adapter(folder: Path) -> None:
    if not (folder / "adapter_config.json").is_file():
        raise ConfigError(
            f"model.adapter: there is no adapter_config.json in {folder}; name the folder that"
            " peft's save_pretrained wrote"
        )


def _with_adapter(model: Any, folder: Path) -> Any:  # noqa: ANN401 untyped library
    """Merge a LoRA adapter into the weights: it then costs nothing at run time."""
    from peft import PeftModel

    try:
        adapted = PeftModel.from_pretrained(model, folder)
    except (OSError, ValueError, RuntimeError, TypeError, KeyError) as error:
        raise ModelLoadError(
            f"model.adapter: {folder.name} does not fit the model ({type(error).__name__}); name"
            " an adapter that was trained on it"
        ) from error
    return adapted.merge_and_unload()


def _widen_head(model: Any) -> None:  # noqa: ANN401 untyped library
    """Compute the vocabulary's logits in float32; tied input embeddings keep their dtype.

    Logits in bfloat16 are quantised: between 16 and 32 the step is 0.125, so the confidence of
    two labels can only be 0.500, 0.531, 0.562 and so on.
    """
    import torch

    class WideHead(torch.nn.Module):
        def __init__(self, head: Any) -> None:  # noqa: ANN401 a linear layer
            super().__init__()
            self.weight = torch.nn.Parameter(head.weight.detach().float(), requires_grad=False)
            bias = getattr(head, "bias", None)
            self.bias = None if bias is None else torch.nn.Parameter(bias.detach().float())

        def forward(self, hidden: Any) -> Any:  # noqa: ANN401 (B, T, H) -> (B, T, V)
            return torch.nn.functional.linear(hidden.float(), self.weight, self.bias)

    head = model.get_output_embeddings()
    if head is not None:
        model.set_output_embeddings(WideHead(head))
