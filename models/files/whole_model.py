"""Loads a folder's model with transformers, and refuses missing and unused weights.

All models that transformers computes are loaded here: encoders, language models, and base models
for training.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog

from streamlabel.errors import ModelLoadError
from streamlabel.models.files.checkpoint import Checkpoint
from streamlabel.models.files.transformers_errors import one_line, unusable

if TYPE_CHECKING:
    import torch

__all__ = [
    "is_harmless",
    "load_whole",
    "not_finite",
    "refuse_not_finite",
    "refuse_not_finite_files",
]

logger = structlog.get_logger(__name__)

# Weights that a classifier may leave unread: heads of pretraining besides its own head, a pooling
# layer that its architecture does not use (RoBERTa), buffers that older versions saved. The model's
# own weights are complete without them; any other unused weight means that config.json describes
# another model.
_HARMLESS: Final = re.compile(
    r"(^|\.)(pooler|cls|lm_head|predictions|generator_predictions|discriminator_predictions"
    r"|mask_predictions|lm_predictions|vocab_transform|vocab_layer_norm|vocab_projector"
    r"|seq_relationship|sop_classifier|qa_outputs)\."
    r"|(^|\.)(position_ids|token_type_ids|final_logits_bias|masked_bias|inv_freq)$"
)
_LISTED: Final = 4


def is_harmless(name: str) -> bool:
    """Whether an unused weight of this name does not affect predictions."""
    return _HARMLESS.search(name) is not None


def load_whole(
    automatic: Any,  # noqa: ANN401 transformers is untyped
    checkpoint: Checkpoint,
    *,
    dtype: "torch.dtype",
    what: str,
    has_new_head: bool = False,
    **config: object,
) -> Any:  # noqa: ANN401 transformers is untyped
    """Return the model of a folder, with exactly the weights of its files.

    Args:
        automatic: one of transformers' AutoModel classes.
        checkpoint: the folder.
        dtype: of the weights.
        what: the kind of model, for messages: "sequence classifier".
        has_new_head: a new head will be trained, so only the weights below it must be present.
        config: changes to config.json.

    Raises:
        ModelLoadError: it is not such a model, or weights are missing, unused, not of the shape in
            config.json, or not finite.
    """
    from transformers.utils import logging

    logging.set_verbosity_error()  # we report missing weights in our own error message
    logging.disable_progress_bar()
    try:
        model, report = automatic.from_pretrained(
            checkpoint.folder,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, by name
            **config,
        )
    except unusable() as error:
        raise ModelLoadError(
            f"model.path: {checkpoint.name} is not a {what} that transformers can load"
            f" ({type(error).__name__}: {one_line(error)}); choose one"
        ) from error
    base = model.base_model_prefix if has_new_head else None
    _refuse_incomplete(checkpoint, report, what=what, base=base)
    refuse_not_finite(checkpoint.name, model.state_dict().items())
    return model


def refuse_not_finite(name: str, tensors: Iterable[tuple[str, "torch.Tensor"]]) -> None:
    """Raise ModelLoadError if a weight has a NaN or an infinity in it.

    Args:
        name: of the model.
        tensors: its weights by name, in the data type of the computation.
    """
    if names := not_finite(tensors):
        raise ModelLoadError(
            f"model.path: {name} has numbers that are not finite (NaN or infinity) in"
            f" {_listed(names)}; copy or train the model again (in float16 a number above 65504"
            " is infinite: set model.dtype)"
        )


def refuse_not_finite_files(name: str, paths: Sequence[Path]) -> None:
    """Raise ModelLoadError if a file has a weight with a NaN or an infinity in it.

    For weights that another process uses; reads every file once.
    """
    from safetensors import SafetensorError, safe_open

    def tensors() -> "Iterator[tuple[str, torch.Tensor]]":
        for path in paths:
            with safe_open(path, framework="pt") as file:
                yield from ((key, file.get_tensor(key)) for key in file.keys())  # noqa: SIM118 no mapping

    try:
        refuse_not_finite(name, tensors())
    except (SafetensorError, OSError) as error:
        raise ModelLoadError(
            f"model.path: the weights of {name} cannot be read ({error}); copy the model again"
        ) from error


def not_finite(tensors: Iterable[tuple[str, "torch.Tensor"]]) -> list[str]:
    """Return the names of the tensors that hold a NaN or an infinity.

    Costs one sum over each tensor, on the device that holds it.
    """
    import torch

    names: list[str] = []
    with torch.inference_mode():
        for name, tensor in tensors:
            # the eight-bit types are quantised weights with separate scales
            if not tensor.dtype.is_floating_point or tensor.dtype.itemsize == 1:
                continue
            total = tensor.sum(dtype=torch.float32).item()
            # a sum of finite numbers can overflow
            if not math.isfinite(total) and not bool(tensor.isfinite().all().item()):
                names.append(name)
    return names


def _refuse_incomplete(
    checkpoint: Checkpoint, report: Mapping[str, Any], *, what: str, base: str | None
) -> None:
    def is_new(name: str) -> bool:
        # some heads contain a pooler, and many encoders are published without one
        return base is not None and (not name.startswith(f"{base}.") or ".pooler." in name)

    shapes = {
        name: f"{name} is {_shape(found)} and must be {_shape(wanted)}"
        for name, found, wanted in report["mismatched_keys"]
        if not is_new(name)
    }
    if shapes:
        raise ModelLoadError(
            f"model.path: {checkpoint.name} has weights with other shapes than in its config.json:"
            f" {_listed(shapes.values())}; choose a model whose files belong together"
        )
    missing = [name for name in report["missing_keys"] if not is_new(name)]
    if missing:
        raise ModelLoadError(
            f"model.path: {checkpoint.name} has no trained weights for {_listed(missing)}; they"
            f" would be random numbers: name a whole {what}, trained for the purpose"
        )
    left = [name for name in report["unexpected_keys"] if not is_harmless(name)]
    # before training a new head, the head of pretraining is unused; a quantiser reads other names
    if left and base is None and not checkpoint.config.get("quantization_config"):
        raise ModelLoadError(
            f"model.path: {checkpoint.name} has weights that its config.json has no place for:"
            f" {_listed(left)}; they would not be read. Correct config.json, or name a whole {what}"
        )
    if report["unexpected_keys"]:
        logger.info("weights_not_read", names=sorted(report["unexpected_keys"])[:_LISTED])


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - _LISTED} more" if len(ordered) > _LISTED else ""
    return ", ".join(ordered[:_LISTED]) + more


def _shape(sizes: Iterable[int]) -> str:
    return " x ".join(map(str, sizes)) or "a single number"
