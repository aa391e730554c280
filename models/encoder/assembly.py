"""Builds the packed encoder of a family from the tensors of its files."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from streamlabel.models.encoder.attention import (
    Attention,
    Banded,
    Bucketed,
    PlainAttention,
    bucketed_bias,
)
from streamlabel.models.encoder.disentangled import Disentangled
from streamlabel.models.encoder.families import ACTIVATIONS, Family, Part
from streamlabel.models.encoder.matrix_products import Activation, Linear, Plain, laid_out
from streamlabel.models.encoder.packed_layers import Embeddings, Encoder, Head, Layer, Norm
from streamlabel.models.encoder.precision import Precision
from streamlabel.models.encoder.rotary import Rotary, read_layers, side_by_side
from streamlabel.models.encoder.row_attention import RowAttention, by_length
from streamlabel.models.encoder.variable_length import Everywhere, VariableLength, VarlenKernel

if TYPE_CHECKING:
    from torch import Tensor, dtype

__all__ = ["assemble"]


def assemble(
    family: Family,
    config: Mapping[str, object],
    sizes: Mapping[str, int],
    tensors: Mapping[str, "Tensor"],
    way: Precision,
    *,
    device: str = "cpu",
    kernel: VarlenKernel | None = None,
) -> Encoder:
    """Return the encoder in a precision; ``tensors`` has every weight of ``weight_shapes``.

    Args:
        family: of the model.
        config: its config.json.
        sizes: as ``read_sizes`` returns them.
        tensors: name -> weight.
        way: the precision.
        device: where it computes.
        kernel: computes attention of all rows in one call; None: a call for each length.
    """
    return _Assembly(family, config, sizes, tensors, way, device=device).encoder(kernel)


class _Assembly:
    def __init__(
        self,
        family: Family,
        config: Mapping[str, object],
        sizes: Mapping[str, int],
        tensors: Mapping[str, "Tensor"],
        way: Precision,
        *,
        device: str,
    ) -> None:
        import torch

        self._device = device
        self._family, self._config, self._sizes = family, config, sizes
        self._tensors, self._exact_layers = tensors, way.exact_layers
        self._wanted: dtype = getattr(torch, way.dtype)
        self._sums = torch.float32 if self._wanted == torch.bfloat16 else self._wanted
        name, default = family.epsilon
        self._epsilon = float(str(config.get(name, default) if name else default))

    def encoder(self, kernel: VarlenKernel | None) -> Encoder:
        family, parts = self._family, self._family.parts
        name = str(self._config.get(family.activation, "gelu"))
        head_norm = self._norm(parts["head_norm"], exact=True) if "head_norm" in parts else None
        return Encoder(
            embeddings=self._embeddings(),
            layers=tuple(self._layer(number) for number in range(self._sizes["layers"])),
            attention=self._row_attention(kernel),
            attention_heads=self._sizes["heads"],
            activation=cast("Activation", ACTIVATIONS[name]),
            heads=(Head(self._plain(parts["head"]), self._plain(parts["labels"]), head_norm),),
            head_activation=cast("Activation", family.head),
            padding=self._padding(),
            rotary=self._rotary() if family.attention == "rotary" else None,
            final_norm=self._norm(parts["final_norm"]) if "final_norm" in parts else None,
            takes_mean=self._takes_mean(),
        )

    def _takes_mean(self) -> bool:
        return self._config.get("classifier_pooling") == "mean"

    def _padding(self) -> int | None:
        padding = self._family.padding
        if padding is None or self._family.is_padding_fixed:
            return padding
        return int(str(self._config.get("pad_token_id", padding)))

    def _rotary(self) -> Rotary:
        sizes = self._sizes
        return Rotary.of(
            read_layers(self._config, sizes["layers"]),
            positions=sizes["positions"],
            size=sizes["hidden"] // sizes["heads"],
            device=self._device,
        )

    def _embeddings(self) -> Embeddings:
        import torch

        parts = self._family.parts
        positions = types = None
        if "positions" in parts:
            positions = self._get(parts["positions"], kind=torch.float32)
            if "types" in parts:
                types = self._get(parts["types"], kind=torch.float32)
                positions += types[0]
                types = (types - types[0]).to(self._sums)
            positions = positions.to(self._sums)
        project = None
        if self._sizes["embedding"] != self._sizes["hidden"]:
            # in float32: it is small, and the embeddings have the widest range of values
            project = self._linear(parts["project"], kind=self._sums)
        return Embeddings(
            words=self._get(parts["words"], kind=self._sums),
            positions=positions,
            norm=self._norm(parts["embedded"]),
            project=project,
            types=types,
        )

    def _row_attention(self, kernel: VarlenKernel | None) -> RowAttention:
        rows = by_length(self._attention(), self._device)
        if kernel is None:
            return rows
        windows = [Everywhere] * self._sizes["layers"]
        if self._family.attention == "rotary":
            reach = self._sizes["window"] // 2
            are_global = read_layers(self._config, len(windows)).are_global
            windows = [Everywhere if each else (reach, reach) for each in are_global]
        return VariableLength(kernel, tuple(windows), rows)

    def _attention(self) -> Attention:
        if self._family.attention == "bucketed":
            table = self._get(self._family.parts["distances"], kind=self._sums)
            return Bucketed(bucketed_bias(table, self._sizes["positions"]))
        if self._family.attention == "disentangled":
            return self._disentangled()
        if self._family.attention == "rotary":
            layers = read_layers(self._config, self._sizes["layers"])
            return Banded(layers.are_global, self._sizes["window"] // 2)
        return PlainAttention()

    def _disentangled(self) -> Disentangled:
        import torch

        parts, sizes = self._family.parts, self._sizes
        # three sums of products: content, and content with position in both directions
        scale = 1 / math.sqrt(3 * sizes["hidden"] / sizes["heads"])
        table = self._get(parts["relative"], kind=torch.float32)
        weight = self._get(parts["relative_norm"], kind=torch.float32)
        bias = self._get(parts["relative_norm"], "bias", kind=torch.float32)
        positions = Norm(weight, bias, self._epsilon)(table)  # (2 buckets, H)

        def of_layer(number: int, kind: str) -> "Tensor":
            part = self._family.layer[kind]
            product = self._plain(Part(part.name.format(number)))
            rows = product(positions) * scale  # (2 buckets, H)
            by_head = rows.view(len(rows), sizes["heads"], -1).transpose(0, 1)
            return by_head.to(self._kind(number)).contiguous()  # (A, 2 buckets, D)

        return Disentangled(
            keys=tuple(of_layer(number, "key") for number in range(sizes["layers"])),
            queries=tuple(of_layer(number, "query") for number in range(sizes["layers"])),
            buckets=sizes["buckets"],
            farthest=sizes["positions"],
            scale=scale,
        )

    def _kind(self, number: int) -> "dtype":
        # The embeddings have the widest range of values: rounding them can cost as much precision
        # as all other layers together.
        return self._sums if number < self._exact_layers else self._wanted

    def _layer(self, number: int) -> Layer:
        parts = {
            kind: Part(part.name.format(number), part.at, part.of)
            for kind, part in self._family.layer.items()
        }
        query, key_value = parts["query"], (parts["key"], parts["value"])
        is_last = number == self._sizes["layers"] - 1 and not self._takes_mean()
        kind = self._kind(number)
        has_entry = "entry_norm" in parts and number > 0
        products = ((query,), key_value) if is_last else ((query, *key_value),)
        in_pairs = (query, parts["key"]) if self._family.attention == "rotary" else ()
        return Layer(
            qkv=tuple(self._linear(*product, kind=kind, in_pairs=in_pairs) for product in products),
            attended=self._linear(parts["attended"], kind=kind),
            attended_norm=self._norm(parts["attended_norm"]),
            up=self._linear(parts["up"], kind=kind),
            down=self._linear(parts["down"], kind=kind),
            norm=self._norm(parts["norm"]) if "norm" in parts else None,
            gate=self._linear(parts["gate"], kind=kind) if "gate" in parts else None,
            entry_norm=self._norm(parts["entry_norm"]) if has_entry else None,
        )

    def _get(self, part: Part, what: str = "weight", *, kind: "dtype") -> "Tensor":
        tensor = self._tensors[f"{part.name}.{what}"].chunk(part.of)[part.at]
        # A copy: otherwise the file stays memory-mapped, and replacing it would kill the process.
        return tensor.to(self._device, kind, copy=True)

    def _plain(self, part: Part) -> Plain:
        import torch

        return Plain(
            self._get(part, kind=torch.float32),
            self._bias(part, kind=torch.float32),
        )

    def _linear(self, *parts: Part, kind: "dtype", in_pairs: Sequence[Part] = ()) -> Linear:
        """Return the product of all parts; rows of ``in_pairs`` are in the order of ``rotary``."""
        import torch

        weights = {part: self._get(part, kind=kind) for part in parts}
        for part in weights.keys() & set(in_pairs):
            weights[part] = side_by_side(weights[part], self._sizes["heads"])
        biases = [self._bias(part, kind=kind) for part in parts]
        return laid_out(torch.cat(list(weights.values())), torch.cat(biases), kind)

    def _bias(self, part: Part, *, kind: "dtype") -> "Tensor":
        """Return the bias of a product; zeros if it has none, whose sum costs nothing there."""
        import torch

        if f"{part.name}.bias" in self._tensors:
            return self._get(part, "bias", kind=kind)
        rows = len(self._tensors[f"{part.name}.weight"]) // part.of
        return torch.zeros(rows, dtype=kind, device=self._device)

    def _norm(self, part: Part, *, exact: bool = False) -> Norm:
        import torch

        kind = torch.float32 if exact else self._sums
        has_bias = f"{part.name}.bias" in self._tensors
        bias = self._get(part, "bias", kind=kind) if has_bias else None
        return Norm(self._get(part, kind=kind), bias, self._epsilon)
