"""Reads a plain BERT's weights for the packed forward pass, without transformers."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from streamlabel.errors import ModelLoadError
from streamlabel.models.devices.device import Device
from streamlabel.models.encoder.bert_shapes import bert_shapes, size
from streamlabel.models.encoder.matrix_products import Linear, Plain, laid_out
from streamlabel.models.encoder.packed_bert import Bert, Layer, Norm, PackedBert
from streamlabel.models.encoder.precision import Precision
from streamlabel.models.files.checkpoint import Checkpoint
from streamlabel.models.files.whole_model import is_harmless, not_finite

if TYPE_CHECKING:
    import torch

__all__ = ["load_packed"]

# Configuration keys that change what a BERT computes or which weights it has.
UNUSUAL: Final = (
    "is_decoder",
    "add_cross_attention",
    "quantization_config",
    "auto_map",
    "pruned_heads",
    "per_layer_config",
    "fusion_config",
)
GELU: Final = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}


def load_packed(checkpoint: Checkpoint, device: Device, way: Precision) -> PackedBert | None:
    """Return the model if it is a plain BERT on the CPU, else None: then transformers loads it.

    Reads the weights itself, because importing transformers takes longer than loading a model.
    It accepts a folder only if that contains exactly the weights that config.json requires, in its
    shapes, all finite. Every other folder goes to the loader with transformers, which loads it or
    reports what is wrong.

    Raises:
        ModelLoadError: a file of the weights is broken.
    """
    config = checkpoint.config
    if device.kind != "cpu" or not _is_plain_bert(config):
        return None
    shapes = bert_shapes(config)
    if shapes is None:
        return None
    tensors = _read_tensors(checkpoint)
    if not _are_whole(tensors, shapes, way):
        return None
    return PackedBert(_assemble(config, tensors, way))


def _is_plain_bert(config: Mapping[str, object]) -> bool:
    return (
        config.get("model_type") == "bert"
        and config.get("architectures") == ["BertForSequenceClassification"]
        and config.get("hidden_act", "gelu") in GELU
        and config.get("position_embedding_type", "absolute") == "absolute"
        and isinstance(config.get("layer_norm_eps", 1e-12), float)
        and not any(config.get(name) for name in UNUSUAL)
    )


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


def _are_whole(
    tensors: Mapping[str, "torch.Tensor"], shapes: Mapping[str, tuple[int, ...]], way: Precision
) -> bool:
    import torch

    # only this type has a smaller range than the types in which models are trained
    kind = torch.float16 if way.dtype == "float16" else None
    # transformers does not read the weights of is_harmless either
    read = {name: tensor for name, tensor in tensors.items() if name in shapes}
    return (
        read.keys() == shapes.keys()
        and all(is_harmless(name) for name in tensors.keys() - read.keys())
        and all(tuple(tensor.shape) == shapes[name] for name, tensor in read.items())
        and all(t.dtype.is_floating_point and t.dtype.itemsize > 1 for t in read.values())
        and not not_finite((name, t if kind is None else t.to(kind)) for name, t in read.items())
    )


def _assemble(
    config: Mapping[str, object], tensors: Mapping[str, "torch.Tensor"], way: Precision
) -> Bert:
    import torch

    wanted: torch.dtype = getattr(torch, way.dtype)
    epsilon = float(str(config.get("layer_norm_eps", 1e-12)))
    count = size(config, "num_hidden_layers")
    sums = torch.float32 if wanted == torch.bfloat16 else wanted

    def get(name: str, kind: "torch.dtype" = sums) -> "torch.Tensor":
        # A copy: otherwise the file stays memory-mapped, and replacing it would kill the process.
        return tensors[name].to(kind, copy=True)

    def plain(name: str) -> Plain:
        return Plain(get(f"{name}.weight", torch.float32), get(f"{name}.bias", torch.float32))

    def linear(*names: str, kind: "torch.dtype" = wanted) -> Linear:
        weight = torch.cat([tensors[f"{name}.weight"] for name in names])
        return laid_out(weight, torch.cat([tensors[f"{name}.bias"] for name in names]), kind)

    def norm(name: str) -> Norm:
        return Norm(get(f"{name}.weight"), get(f"{name}.bias"), epsilon)

    def layer(number: int) -> Layer:
        name = f"bert.encoder.layer.{number}"
        query, *key_value = (f"{name}.attention.self.{part}" for part in ("query", "key", "value"))
        is_last = number == count - 1
        # The embeddings have the widest range of values: rounding them can cost as much precision
        # as all other layers together.
        kind = sums if number < way.exact_layers else wanted
        products = ((query,), tuple(key_value)) if is_last else ((query, *key_value),)
        return Layer(
            qkv=tuple(linear(*names, kind=kind) for names in products),
            attended=linear(f"{name}.attention.output.dense", kind=kind),
            attended_norm=norm(f"{name}.attention.output.LayerNorm"),
            up=linear(f"{name}.intermediate.dense", kind=kind),
            down=linear(f"{name}.output.dense", kind=kind),
            norm=norm(f"{name}.output.LayerNorm"),
        )

    embeddings = "bert.embeddings"
    return Bert(
        words=get(f"{embeddings}.word_embeddings.weight"),
        positions=(
            get(f"{embeddings}.position_embeddings.weight", torch.float32)
            + get(f"{embeddings}.token_type_embeddings.weight", torch.float32)[0]
        ).to(sums),
        norm=norm(f"{embeddings}.LayerNorm"),
        layers=tuple(layer(number) for number in range(count)),
        pooler=plain("bert.pooler.dense"),
        classifier=plain("classifier"),
        heads=size(config, "num_attention_heads"),
        gelu=GELU[str(config.get("hidden_act", "gelu"))],
    )
