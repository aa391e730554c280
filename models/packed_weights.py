"""Reads a plain BERT's weights for the packed forward, without transformers."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from streamlabel.errors import ModelLoadError
from streamlabel.models.checkpoint import Checkpoint
from streamlabel.models.devices import Device
from streamlabel.models.packed import Bert, Layer, Norm, PackedBert
from streamlabel.models.precision import Precision
from streamlabel.models.products import Linear, Plain, laid_out

if TYPE_CHECKING:
    import torch

__all__ = ["load_packed"]

GELU: Final = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}


def load_packed(checkpoint: Checkpoint, device: Device, way: Precision) -> PackedBert | None:
    """Return the model if it is a plain BERT on the CPU, else None: transformers can do the rest.

    Reads the weights itself, because importing transformers takes longer than loading a model.

    Raises:
        ModelLoadError: the file of the weights is broken.
    """
    if device.kind != "cpu" or not _is_plain_bert(checkpoint.config):
        return None

    tensors = _read_tensors(checkpoint)
    try:
        return PackedBert(_assemble(checkpoint.config, tensors, way))
    except (KeyError, RuntimeError):
        # A weight is missing or has another shape: transformers knows the older names, and if
        # it does not find them either, its loader here says what is missing.
        return None


def _is_plain_bert(config: Mapping[str, object]) -> bool:
    return (
        config.get("model_type") == "bert"
        and config.get("architectures") == ["BertForSequenceClassification"]
        and config.get("hidden_act", "gelu") in GELU
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not config.get("is_decoder")
        and not config.get("add_cross_attention")
        and not config.get("quantization_config")
        and not config.get("auto_map")
    )


def _read_tensors(checkpoint: Checkpoint) -> dict[str, "torch.Tensor"]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    tensors: dict[str, torch.Tensor] = {}
    for path in sorted(checkpoint.folder.glob("model*.safetensors")):
        try:
            tensors |= load_file(path)
        except (SafetensorError, OSError) as error:
            raise ModelLoadError(
                f"model.path: {path} cannot be read ({error}); copy the model again"
            ) from error
    return tensors


def _assemble(
    config: Mapping[str, object], tensors: Mapping[str, "torch.Tensor"], way: Precision
) -> Bert:
    import torch

    wanted: torch.dtype = getattr(torch, way.dtype)
    epsilon = float(str(config.get("layer_norm_eps", 1e-12)))
    count = int(str(config["num_hidden_layers"]))
    sums = torch.float32 if wanted == torch.bfloat16 else wanted

    def get(name: str, kind: "torch.dtype" = sums) -> "torch.Tensor":
        # A copy: the file stays mapped otherwise, and replacing it would kill the process.
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
        heads=int(str(config["num_attention_heads"])),
        gelu=GELU[str(config.get("hidden_act", "gelu"))],
    )
