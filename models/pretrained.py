"""Loads a checkpoint with transformers: any architecture that has a sequence classifier."""

from typing import Any

from streamlabel.errors import ModelLoadError
from streamlabel.models.checkpoint import Checkpoint
from streamlabel.models.devices import Device
from streamlabel.models.padded import PaddedForward

__all__ = ["load_padded", "load_tokenizer"]

# What transformers calls the layers behind the pooled hidden state.
HEAD_NAMES = ("classifier", "score")


def load_tokenizer(checkpoint: Checkpoint) -> Any:  # noqa: ANN401 tokenizers is untyped
    """Return the ``tokenizers.Tokenizer`` that transformers builds.

    Raises:
        ModelLoadError: the folder has no usable tokenizer.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(checkpoint.folder, trust_remote_code=False)
        backend = tokenizer.backend_tokenizer
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        raise ModelLoadError(
            f"model.path: the tokenizer of {checkpoint.name} cannot be loaded"
            f" ({type(error).__name__}: {_first_line(error)}); save the model with a tokenizer.json"
        ) from error
    # A tokenizer.json remembers how its author last used it; we cut and pad ourselves.
    backend.no_truncation()
    backend.no_padding()
    return backend


def load_padded(checkpoint: Checkpoint, device: Device, *, dtype: str) -> PaddedForward:
    """Return the model, ready on the device; weights in ``dtype``, its head in float32.

    Raises:
        ModelLoadError: not a sequence classifier, or weights of it are missing.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    # Its report of what is missing is our error message, and a bar is no log line.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        model, report = AutoModelForSequenceClassification.from_pretrained(
            checkpoint.folder,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    # What transformers raises for a folder it cannot use has no common base.
    except (
        OSError,
        ValueError,
        RuntimeError,
        TypeError,
        KeyError,
        AttributeError,
        ImportError,
        SafetensorError,
    ) as error:
        raise ModelLoadError(
            f"model.path: {checkpoint.name} is no sequence classifier that transformers can load"
            f" ({type(error).__name__}: {_first_line(error)}); name one"
        ) from error
    refuse_missing(
        checkpoint, {*report["missing_keys"], *(k[0] for k in report["mismatched_keys"])}
    )
    if model.config.pad_token_id is None:
        raise ModelLoadError(
            f"model.path: {checkpoint.name} has no padding token; set pad_token_id in its"
            " config.json"
        )
    _cast(model, getattr(torch, dtype))
    model.eval()
    model.to(device.name)
    return PaddedForward(
        model,
        device=device.name,
        pad_id=int(model.config.pad_token_id),
        takes_token_types=bool(getattr(model.config, "type_vocab_size", 0)),
    )


def refuse_missing(checkpoint: Checkpoint, missing: set[str]) -> None:
    """Raise ModelLoadError if weights are missing; transformers would make them up at random."""
    if not missing:
        return
    names = sorted(missing)
    listed = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    raise ModelLoadError(
        f"model.path: {checkpoint.name} has no trained weights for {listed}; name a model that was"
        " fine-tuned for sequence classification"
    )


def _cast(model: Any, dtype: Any) -> None:  # noqa: ANN401 untyped library
    """Cast all but the head, which sees its input and computes in float32.

    Logits in bfloat16 are quantised: between 16 and 32 the step is 0.125.
    """
    import torch

    if dtype == torch.float32:
        return
    for name, child in model.named_children():
        if name in HEAD_NAMES:
            child.register_forward_pre_hook(lambda _, args: (args[0].float(), *args[1:]))
        else:
            child.to(dtype)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]
