"""Loads a checkpoint with transformers: any architecture with a sequence classifier."""

from inspect import signature
from typing import Any

from streamlabel.errors import ModelLoadError
from streamlabel.models.devices.device import Device
from streamlabel.models.encoder.padded import PaddedForward
from streamlabel.models.files.checkpoint import Checkpoint
from streamlabel.models.files.transformers_errors import one_line, unusable
from streamlabel.models.files.whole_model import load_whole, refuse_not_finite
from streamlabel.models.tokens.token_types import TokenTypes

__all__ = ["load_padded", "load_tokenizer"]

# Names in transformers of the layers after the pooled hidden state.
HEAD_NAMES = ("classifier", "score")


def load_tokenizer(checkpoint: Checkpoint) -> tuple[Any, bool]:
    """Return the ``tokenizers.Tokenizer`` of transformers, and whether the model uses token types.

    Raises:
        ModelLoadError: the folder has no usable tokenizer.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(checkpoint.folder, trust_remote_code=False)
        backend = tokenizer.backend_tokenizer
        gives_types = "token_type_ids" in tokenizer.model_input_names
    except unusable() as error:
        raise ModelLoadError(
            f"model.path: the tokenizer of {checkpoint.name} cannot be loaded"
            f" ({type(error).__name__}: {one_line(error)}); save the model with a tokenizer.json"
        ) from error
    # A tokenizer.json may store truncation and padding settings; our code does both itself.
    backend.no_truncation()
    backend.no_padding()
    return backend, gives_types


def load_padded(
    checkpoint: Checkpoint, device: Device, *, dtype: str, types: TokenTypes | None = None
) -> PaddedForward:
    """Return the model, ready on the device; weights in ``dtype``, its head in float32.

    Args:
        checkpoint: its files.
        device: where it computes.
        dtype: torch's name.
        types: token types of its tokenizer; None if it has none.

    Raises:
        ModelLoadError: not a sequence classifier, or its weights are not those of its config.json.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    model = load_whole(
        AutoModelForSequenceClassification,
        checkpoint,
        dtype=torch.float32,
        what="sequence classifier",
    )
    model.config.return_dict = True  # a model saved for TorchScript returns tuples
    if model.config.pad_token_id is None:
        raise ModelLoadError(
            f"model.path: {checkpoint.name} has no padding token; set pad_token_id in its"
            " config.json"
        )
    _cast(model, getattr(torch, dtype))
    model.eval()
    model.to(device.name)
    if dtype == "float16":
        refuse_not_finite(checkpoint.name, model.state_dict().items())
    return PaddedForward(
        model,
        device=device.name,
        pad_id=int(model.config.pad_token_id),
        types=types if "token_type_ids" in signature(model.forward).parameters else None,
    )


def _cast(model: Any, dtype: Any) -> None:  # noqa: ANN401 untyped library
    """Cast all but the head, whose input and computation stay in float32.

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
