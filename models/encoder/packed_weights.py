"""Reads the weights of an encoder family for the packed forward pass, without transformers."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from streamlabel.errors import InferenceError, ModelLoadError
from streamlabel.models.devices.device import Device, device_errors
from streamlabel.models.encoder.assembly import assemble
from streamlabel.models.encoder.families import ACTIVATIONS, FAMILIES, Family
from streamlabel.models.encoder.packed_forward import PackedForward
from streamlabel.models.encoder.precision import Precision
from streamlabel.models.encoder.variable_length import (
    VariableLength,
    VarlenKernel,
    difference,
    is_equal,
    varlen_kernel,
)
from streamlabel.models.encoder.weight_shapes import read_sizes, weight_shapes
from streamlabel.models.files.checkpoint import Checkpoint
from streamlabel.models.files.whole_model import is_harmless, not_finite

if TYPE_CHECKING:
    import torch

__all__ = ["Unpacked", "family_of", "load_packed"]

# Configuration keys that change what an encoder computes or which weights it has.
UNUSUAL: Final = (
    "is_decoder",
    "add_cross_attention",
    "quantization_config",
    "auto_map",
    "pruned_heads",
    "per_layer_config",
    "fusion_config",
)


class Unpacked(Exception):  # noqa: N818 no error: another way of computing is chosen
    """The packed forward pass cannot compute this model; the message says why."""


def load_packed(checkpoint: Checkpoint, device: Device, way: Precision) -> PackedForward:
    """Return the model, if it is one of the families, on a CPU or a CUDA device.

    Reads the weights itself, because importing transformers takes longer than loading a model.
    It accepts a folder only if that contains exactly the weights that config.json requires, in its
    shapes, all finite. Every other folder goes to the loader with transformers, which loads it or
    reports what is wrong.

    Raises:
        Unpacked: transformers has to compute it.
        ModelLoadError: a file of the weights is broken.
    """
    family = family_of(checkpoint.config)
    kernel = _kernel_for(family, device)
    try:
        sizes = read_sizes(family, checkpoint.config)
    except ValueError as error:
        raise Unpacked(f"config.json: {error}") from error
    tensors = _read_tensors(checkpoint)
    _refuse_others(tensors, weight_shapes(family, sizes), way)
    encoder = assemble(
        family, checkpoint.config, sizes, tensors, way, device=device.name, kernel=kernel
    )
    if isinstance(encoder.attention, VariableLength):
        _prove_kernel(encoder.attention, sizes, way, device)
    return PackedForward(encoder)


def _kernel_for(family: Family, device: Device) -> VarlenKernel | None:
    """Return the kernel with which a device computes all rows at once; None on a CPU."""
    if device.kind == "cpu":
        return None
    if device.kind != "cuda":
        raise Unpacked(f"it computes on {device.kind}, for which no packed way is known")
    if family.attention not in {"plain", "rotary"}:
        raise Unpacked(f"no kernel of a device computes attention of {family.model_type} packed")
    kernel = varlen_kernel()
    if kernel is None:
        raise Unpacked("this version of torch has no attention of variable lengths")
    return kernel


def _prove_kernel(
    attention: VariableLength, sizes: Mapping[str, int], way: Precision, device: Device
) -> None:
    """Raise Unpacked if attention of all rows at once differs from that of rows of one length."""
    import torch

    if way.dtype == "float32":  # the kernel does not take it, and is not used
        return
    heads, size = sizes["heads"], sizes["hidden"] // sizes["heads"]
    kind = getattr(torch, way.dtype)
    try:
        with device_errors(device):
            found = difference(attention, heads=heads, size=size, device=device.name, kind=kind)
    except InferenceError as error:
        raise Unpacked(f"attention of variable lengths fails on {device.name}: {error}") from error
    if not is_equal(found):
        raise Unpacked(f"attention of variable lengths differs on {device.name} by {found:.2g}")


def family_of(config: Mapping[str, object]) -> Family:
    """Return the family whose computation this config.json describes.

    Raises:
        Unpacked: there is none, or it describes a variation.
    """
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and len(names) == 1 else None
    family = FAMILIES.get(name) if isinstance(name, str) else None
    if family is None or config.get("model_type") != family.model_type:
        raise Unpacked(f"{config.get('model_type')} is none of the packed families")
    odd = [key for key in UNUSUAL if config.get(key)]
    odd += [key for key, known in family.needs.items() if config.get(key) not in known]
    if config.get(family.activation, "gelu") not in ACTIVATIONS:
        odd.append(family.activation)
    name, default = family.epsilon
    if name is not None and not isinstance(config.get(name, default), float):
        odd.append(name)
    if family.padding is not None and type(config.get("pad_token_id", family.padding)) is not int:
        odd.append("pad_token_id")
    if odd:
        values = ", ".join(f"{key} is {config.get(key)!r}" for key in odd)
        raise Unpacked(f"config.json has an unknown variation of {family.model_type}: {values}")
    return family


def _read_tensors(checkpoint: Checkpoint) -> dict[str, "torch.Tensor"]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    tensors: dict[str, torch.Tensor] = {}
    for path in checkpoint.weights().paths:
        try:
            tensors |= load_file(path)
        except (SafetensorError, OSError) as error:
            raise ModelLoadError(
                f"model.path: {path} cannot be read ({error}); copy the model again"
            ) from error
    return tensors


def _refuse_others(
    tensors: Mapping[str, "torch.Tensor"], shapes: Mapping[str, tuple[int, ...]], way: Precision
) -> None:
    import torch

    # only this type has a smaller range than the types in which models are trained
    kind = torch.float16 if way.dtype == "float16" else None
    # transformers does not read the weights of is_harmless either
    read = {name: tensor for name, tensor in tensors.items() if name in shapes}
    other = {name for name in tensors.keys() - read.keys() if not is_harmless(name)}
    odd = [
        *sorted(shapes.keys() - read.keys()),
        *sorted(other),
        *(name for name, tensor in read.items() if tuple(tensor.shape) != shapes[name]),
        *(n for n, t in read.items() if not t.dtype.is_floating_point or t.dtype.itemsize == 1),
        *not_finite((name, t if kind is None else t.to(kind)) for name, t in read.items()),
    ]
    if odd:
        raise Unpacked(
            f"weights are missing, not known, or have other shapes, types or values: {odd[0]}"
            + (f" and {len(odd) - 1} more" if odd[1:] else "")
        )
