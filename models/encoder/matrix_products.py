"""Matrix products of the packed forward pass, with weights in oneDNN's own layout.

The same optimisation as ``torch.compile`` on a CPU, without minutes of compilation: the weight is
reordered when the model is loaded (a plain product does so on every call), and the activation is
computed while the result is still in the cache. With bfloat16 only the product uses bfloat16, which
a CPU with AVX512-BF16 computes twice as fast; the residual stream stays in float32, because
otherwise the rounding errors of all layers would accumulate.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from torch import Tensor, dtype

__all__ = ["Activation", "LaidOut", "Linear", "Plain", "activate", "laid_out"]

Activation = Literal["gelu", "gelu_tanh", "relu", "silu", "tanh"]

# What oneDNN calls them: operation and algorithm.
_FUSED: Final[Mapping[str | None, tuple[str, str]]] = {
    None: ("none", ""),
    "gelu": ("gelu", "none"),
    "gelu_tanh": ("gelu", "tanh"),
    "relu": ("relu", ""),
    "silu": ("swish", ""),
    "tanh": ("tanh", ""),
}

# Usual number of rows of a product, for which the layout is chosen. Other numbers work as well.
_ROWS: Final = 1024


def activate(x: "Tensor", activation: Activation) -> "Tensor":
    """Return ``x``, overwritten with the activation of each number."""
    from torch import ops, relu_, tanh_
    from torch.nn.functional import silu

    match activation:
        case "gelu":
            ops.aten.gelu_(x)
        case "gelu_tanh":
            ops.aten.gelu_(x, approximate="tanh")
        case "relu":
            relu_(x)
        case "silu":
            silu(x, inplace=True)
        case "tanh":
            tanh_(x)
    return x


@dataclass(frozen=True, slots=True)
class Plain:
    """y = x W^T + b as in torch; x (..., in) of any type, y of the type of W."""

    weight: "Tensor"  # (out, in)
    bias: "Tensor"  # (out,)

    def __call__(self, x: "Tensor", activation: Activation | None = None) -> "Tensor":
        """Return (..., out), with the activation applied."""
        import torch

        y = torch.nn.functional.linear(x.to(self.weight.dtype), self.weight, self.bias)
        return y if activation is None else activate(y, activation)

    def times(self, x: "Tensor", factor: "Tensor") -> "Tensor":
        """Return (..., out), multiplied with ``factor`` of this shape and the type of W."""
        return self(x).mul_(factor)


@dataclass(frozen=True, slots=True)
class LaidOut:
    """y = x W^T + b, the weight in oneDNN's layout; x (rows, in) of any type, y of W's type."""

    weight: "Tensor"
    bias: "Tensor"  # (out,)

    def __call__(self, x: "Tensor", activation: Activation | None = None) -> "Tensor":
        """Return (rows, out), with the activation applied."""
        import torch

        operation, algorithm = _FUSED[activation]
        y: Tensor = torch.ops.mkldnn._linear_pointwise(  # noqa: SLF001 what torch.compile calls
            x.to(self.bias.dtype), self.weight, self.bias, operation, (), algorithm
        )
        return y

    def times(self, x: "Tensor", factor: "Tensor") -> "Tensor":
        """Return (rows, out), multiplied with ``factor`` while the result is in the cache."""
        import torch

        y: Tensor = torch.ops.mkldnn._linear_pointwise.binary(  # noqa: SLF001 see above
            x.to(self.bias.dtype), factor, self.weight, self.bias, "mul"
        )
        return y


Linear = Plain | LaidOut


def laid_out(weight: "Tensor", bias: "Tensor", kind: "dtype") -> Linear:
    """Return the product in this type, with oneDNN's layout if torch and the processor have it."""
    import torch

    weight, bias = weight.to(kind), bias.to(kind)
    if weight.device.type != "cpu":
        return Plain(weight, bias)
    try:
        layout = torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS)  # noqa: SLF001 see above
        product = LaidOut(layout, bias)
        with torch.inference_mode():
            product(torch.zeros(1, weight.shape[1]))
    except (AttributeError, RuntimeError):  # not in this build, or not on this processor
        return Plain(weight, bias)
    return product
