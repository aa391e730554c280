"""Reads a plain BERT's weights for the packed forward, without transformers."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from streamlabel.errors import ModelLoadError
from streamlabel.models.checkpoint import Checkpoint
from streamlabel.models.devices import Device
from streamlabel.models.packed import Bert, Layer, Linear, Norm, PackedBert

if TYPE_CHECKING:
    import torch

__all__ = ["load_packed"]

GELU: Final = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}


def load_packed(checkpoint: Checkpoint, device: Device, *, dtype: str) -> PackedBert | None:
    """Return the model if it is a plain BERT on the CPU, else None: transformers can do the rest.

    Reads the weights itself, because importing transformers takes longer than loading a model.

    Raises:
        ModelLoadError: the file of the weights is broken.
    """
    if device.kind != "cpu" or not _is_plain_bert(checkpoint.config):
        return None
    import torch

    tensors = _read_tensors(checkpoint)
    try:
        return PackedBert(_assemble(checkpoint.config, tensors, getattr(torch, dtype)))
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
    config: Mapping[str, object], tensors: Mapping[str, "torch.Tensor"], wanted: "torch.dtype"
) -> Bert:
    import torch

    epsilon = float(str(config.get("layer_norm_eps", 1e-12)))

    def get(name: str, kind: "torch.dtype" = wanted) -> "torch.Tensor":
        # A copy: the file stays mapped otherwise, and replacing it would kill the process.
        return tensors[name].to(kind, copy=True)

    def linear(name: str, kind: "torch.dtype" = wanted) -> Linear:
        return Linear(get(f"{name}.weight", kind), get(f"{name}.bias", kind))

    def norm(name: str) -> Norm:
        return Norm(get(f"{name}.weight"), get(f"{name}.bias"), epsilon)

    def layer(name: str) -> Layer:
        parts = [linear(f"{name}.attention.self.{part}") for part in ("query", "key", "value")]
        return Layer(
            qkv=Linear(
                torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])
            ),
            attended=linear(f"{name}.attention.output.dense"),
            attended_norm=norm(f"{name}.attention.output.LayerNorm"),
            up=linear(f"{name}.intermediate.dense"),
            down=linear(f"{name}.output.dense"),
            norm=norm(f"{name}.output.LayerNorm"),
        )

    embeddings = "bert.embeddings"
    return Bert(
        words=get(f"{embeddings}.word_embeddings.weight"),
        positions=(
            get(f"{embeddings}.position_embeddings.weight", torch.float32)
            + get(f"{embeddings}.token_type_embeddings.weight", torch.float32)[0]
        ).to(wanted),
        norm=norm(f"{embeddings}.LayerNorm"),
        layers=tuple(
            layer(f"bert.encoder.layer.{i}") for i in range(int(str(config["num_hidden_layers"])))
        ),
        pooler=linear("bert.pooler.dense", torch.float32),
        classifier=linear("classifier", torch.float32),
        heads=int(str(config["num_attention_heads"])),
        gelu=GELU[str(config.get("hidden_act", "gelu"))],
    )
