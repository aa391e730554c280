"""Loads a causal language model with transformers: dtype, adapter, head."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamlabel.config.model import CausalSettings
from streamlabel.errors import InferenceError, ModelLoadError
from streamlabel.models.core.classifier import BatchHints, ModelIdentity
from streamlabel.models.core.labels import LabelSet
from streamlabel.models.devices.device import (
    Device,
    choose_device,
    device_errors,
    library_versions,
    limit_threads,
)
from streamlabel.models.devices.device_threads import QUEUED, DeviceThreads
from streamlabel.models.files.checkpoint import Checkpoint, open_checkpoint
from streamlabel.models.files.digest import model_digest
from streamlabel.models.files.row_limit import probe_row, table_limit, try_row
from streamlabel.models.files.trained_length import length_details
from streamlabel.models.files.whole_model import load_whole
from streamlabel.models.label_scoring.taught_prompt import tuned_folders
from streamlabel.models.llm.adapter import ADAPTER_WEIGHTS, refuse_missing_adapter, with_adapter
from streamlabel.models.llm.causal_model import CausalModel
from streamlabel.models.prompts.chat_template import Chat, open_chat
from streamlabel.models.tokens.rows import Rows

__all__ = ["LoadedCausal", "causal_digest", "choose_dtype", "load_causal", "open_causal"]


@dataclass(frozen=True, slots=True)
class LoadedCausal:
    """A language model with its tokenizer, ready for use.

    Attributes:
        model: on its device.
        chat: tokenizer and chat template.
        device: where it computes.
        folder: of the model's files.
        name: as configured: the folder's last part or the hub id.
        dtype: of the weights.
        digest: of weights, adapter, tokenizer and label names.
        max_tokens: longest row.
        details: for ``streamlabel check``.
    """

    model: CausalModel
    chat: Chat
    device: Device
    folder: Path
    name: str
    dtype: str
    digest: str
    max_tokens: int
    details: dict[str, str]

    def identity(
        self, backend: str, *, prompt_version: str, details: dict[str, str]
    ) -> ModelIdentity:
        """Return the identity for every output record."""
        return ModelIdentity(
            name=self.name,
            backend=backend,
            device=self.device.name,
            dtype=self.dtype,
            digest=self.digest,
            prompt_version=prompt_version,
            versions=self.device.versions | library_versions("transformers", "tokenizers", "peft"),
            details=self.details | details,
        )

    @property
    def hints(self) -> BatchHints:
        """How its batches should be formed; they are computed in ``DeviceThreads``."""
        return BatchHints(
            max_in_flight=DeviceThreads.max_in_flight, queued=QUEUED, max_tokens=self.max_tokens
        )


def open_causal(settings: CausalSettings, labels: LabelSet) -> LoadedCausal:
    """Load model, tokenizer and adapter of the settings; blocks.

    Raises:
        ConfigError: a setting does not fit the model or the machine.
        ModelLoadError: the model cannot be used; the message says why and what to do.
    """
    checkpoint = open_checkpoint(settings)
    if settings.adapter is not None:
        refuse_missing_adapter(Path(settings.adapter).expanduser())
    with ThreadPoolExecutor(1, "digest") as beside:
        digest = beside.submit(causal_digest, checkpoint, labels, settings.adapter)
        device = choose_device(settings.device)
        threads = limit_threads(settings.threads)
        chat = open_chat(checkpoint, settings, settings.task)
        dtype = choose_dtype(settings.dtype, device)
        model = load_causal(
            checkpoint,
            device,
            dtype=dtype,
            adapter=settings.adapter,
            fp32_head=settings.fp32_head,
            pad_id=chat.pad_id,
        )
        max_tokens = _longest_row(model, checkpoint, settings, device)
        details = {"threads": str(threads)} if device.kind == "cpu" else {}
        details |= length_details(tuned_folders(checkpoint.folder, settings.adapter))
        if settings.adapter is not None:
            details["adapter"] = Path(settings.adapter).name
        return LoadedCausal(
            model=model,
            chat=chat,
            device=device,
            folder=checkpoint.folder,
            name=checkpoint.name,
            dtype=dtype,
            digest=digest.result(),
            max_tokens=max_tokens,
            details=details,
        )


def _longest_row(
    model: CausalModel, checkpoint: Checkpoint, settings: CausalSettings, device: Device
) -> int:
    """Return the maximum length: within the model's positions, and tried with one row."""

    def compute(rows: Rows) -> object:
        return model.first_tokens(rows, [0])

    try:
        with device_errors(device):
            table = table_limit(compute, (), (), token=0)
    except InferenceError as error:
        raise ModelLoadError(
            f"model.path: the model fails on its first text ({error}); its files do not agree with"
            " its config.json"
        ) from error
    limits = (settings.max_tokens, table, model.max_positions)
    longest = min(limit for limit in limits if limit)
    row = probe_row((), (), token=0, length=longest)
    try_row(compute, row, device=device, weight_bytes=checkpoint.weights().size_bytes)
    return longest


def causal_digest(checkpoint: Checkpoint, labels: LabelSet, adapter: str | None) -> str:
    """Return the SHA-256 over weights, adapter, tokenizer and label names."""
    digest = model_digest(checkpoint.folder, labels, weights=checkpoint.weights().paths)
    if adapter is None:
        return digest
    path = Path(adapter).expanduser()
    config = path / "adapter_config.json"  # contains the scaling of the adapter's weights
    parts = (
        digest,
        model_digest(path, labels, weights=[path / ADAPTER_WEIGHTS]),
        config.read_text("utf-8") if config.exists() else "",
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def choose_dtype(wanted: str, device: Device) -> str:
    """Return the dtype of the weights; not the checkpoint's, the default of transformers 5."""
    if wanted != "auto":
        return wanted
    return "float32" if device.kind == "cpu" else "bfloat16"


def load_causal(
    checkpoint: Checkpoint,
    device: Device,
    *,
    dtype: str,
    adapter: str | None,
    fp32_head: bool,
    pad_id: int,
) -> CausalModel:
    """Return the model, ready on the device.

    Args:
        checkpoint: its files.
        device: where it computes.
        dtype: of the weights, by torch's name.
        adapter: folder of a LoRA adapter that is merged into the weights.
        fp32_head: compute the output layer in float32 whatever the dtype.
        pad_id: see CausalModel.

    Raises:
        ModelLoadError: not a causal language model, or its weights are not those of its
            config.json.
    """
    import torch
    from transformers import AutoModelForCausalLM

    kind = getattr(torch, dtype)
    model = load_whole(AutoModelForCausalLM, checkpoint, dtype=kind, what="language model")
    if adapter is not None:
        model = with_adapter(model, Path(adapter).expanduser())
    model.eval()
    model.to(device.name)
    if fp32_head and kind != torch.float32:
        _widen_head(model)
    return CausalModel(model, device=device.name, pad_id=pad_id)


def _widen_head(model: Any) -> None:  # noqa: ANN401 untyped library
    """Compute the vocabulary's logits in float32; tied input embeddings keep their dtype.

    Logits in bfloat16 are quantised: between 16 and 32 the step is 0.125, so the confidence with
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
