"""Rotary positions: queries and keys are turned by angles that grow with the position (ModernBERT).

The two numbers of a query or key that are turned together stand side by side, so that one complex
product turns them; the rows of the query's and the key's weights are put into this order when they
are loaded, which changes no product of a query and a key.

Source: Su et al. 2021, RoFormer; ModernBertRotaryEmbedding in transformers, where the two numbers
are half a head apart.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Rotary", "RotaryLayers", "read_layers", "side_by_side"]

# Kind of layer in config.json -> its angle in files of transformers 4, and the default.
_KINDS: Final = {
    "full_attention": ("global_rope_theta", 160_000.0),
    "sliding_attention": ("local_rope_theta", 10_000.0),
}
_EVERY: Final = 3  # by default each third layer, from the first one on, is global
# All that the positions of a kind of layer may say; anything else scales them.
_KNOWN: Final = frozenset({"rope_type", "rope_theta"})


@dataclass(frozen=True, slots=True)
class RotaryLayers:
    """What config.json says about the layers.

    Attributes:
        are_global: for each layer, whether a token attends to all tokens of its row; otherwise only
            to those near it.
        thetas: base of the angles of local and of global layers.
    """

    are_global: tuple[bool, ...]
    thetas: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Rotary:
    """Turns queries and keys.

    Attributes:
        tables: for local and for global layers, the turn of each position and pair, complex
            (P, D / 2).
        are_global: of each layer.
    """

    tables: "tuple[Tensor, Tensor]"
    are_global: tuple[bool, ...]

    def turns(self, places: "Tensor") -> "tuple[Tensor, Tensor]":
        """Return the turns of tokens at these positions (T,), as ``turn`` takes them."""
        local, everywhere = (table[places][:, None, None] for table in self.tables)
        return local, everywhere  # (T, 1, 1, D / 2)

    def turn(self, x: "Tensor", turns: "tuple[Tensor, Tensor]", number: int) -> None:
        """Turn ``x`` (T, N, A, D) in place, in layer ``number``."""
        import torch

        wide = x if x.dtype == torch.float32 else x.float()
        pairs = torch.view_as_complex(wide.view(*wide.shape[:-1], -1, 2))  # (T, N, A, D / 2)
        pairs.mul_(turns[self.are_global[number]])
        if wide is not x:
            x.copy_(wide)

    @classmethod
    def of(
        cls, layers: RotaryLayers, *, positions: int, size: int, device: str = "cpu"
    ) -> "Rotary":
        """Return the tables.

        Args:
            layers: from config.json.
            positions: number of positions P.
            size: of a head, D.
            device: where it computes.
        """
        local, everywhere = (_table(theta, positions, size).to(device) for theta in layers.thetas)
        return cls((local, everywhere), layers.are_global)


def _table(theta: float, positions: int, size: int) -> "Tensor":
    import torch

    speed = 1.0 / theta ** (torch.arange(0, size, 2, dtype=torch.float32) / size)
    angles = torch.arange(positions, dtype=torch.float32)[:, None] * speed
    return torch.polar(torch.ones_like(angles), angles)  # (P, D / 2)


def side_by_side(weight: "Tensor", heads: int) -> "Tensor":
    """Return the rows of a query's or key's weight (H, ...) with the two of each pair together."""
    halves = weight.view(heads, 2, -1, *weight.shape[1:])  # (A, 2, D / 2, ...)
    return halves.transpose(1, 2).reshape(weight.shape)


def read_layers(config: Mapping[str, object], layers: int) -> RotaryLayers:
    """Return what config.json says, as transformers 4 or 5 writes it.

    Raises:
        ValueError: it says something else; says what.
    """
    kinds = config.get("layer_types")
    if kinds is None:
        every = config.get("global_attn_every_n_layers", _EVERY)
        if type(every) is not int or every < 1:
            raise ValueError(f"global_attn_every_n_layers is {every!r}")
        are_global = tuple(number % every == 0 for number in range(layers))
    elif isinstance(kinds, list) and len(kinds) == layers and set(kinds) <= _KINDS.keys():
        are_global = tuple(kind == "full_attention" for kind in kinds)
    else:
        raise ValueError(f"layer_types is {kinds!r}")
    return RotaryLayers(
        are_global, (_theta(config, "sliding_attention"), _theta(config, "full_attention"))
    )


def _theta(config: Mapping[str, object], kind: str) -> float:
    name, default = _KINDS[kind]
    given = config.get("rope_parameters")
    about: Any = given.get(kind) if isinstance(given, Mapping) else given
    about = {} if about is None else about
    if not isinstance(about, Mapping) or about.keys() - _KNOWN:
        raise ValueError(f"rope_parameters of {kind} are {about!r}")
    if about.get("rope_type", "default") != "default":
        raise ValueError(f"rope_type of {kind} is {about['rope_type']!r}")
    theta = about.get("rope_theta", config.get(name, default))
    if isinstance(theta, bool) or not isinstance(theta, int | float) or theta <= 0:
        raise ValueError(f"rope_theta of {kind} is {theta!r}")
    return float(theta)
