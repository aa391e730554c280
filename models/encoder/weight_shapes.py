"""Names and shapes of the weights of an encoder family, from its config.json."""

from collections.abc import Iterator, Mapping
from typing import Final

from streamlabel.errors import ModelLoadError
from streamlabel.models.encoder.families import Family, Part
from streamlabel.models.encoder.rotary import read_layers
from streamlabel.models.files.label_names import count_labels

__all__ = ["read_sizes", "trunk_weights", "weight_shapes"]

# Rows and columns of each part, as names of sizes; one size: the weight of a normalisation.
_SHAPES: Final[Mapping[str, tuple[str, ...]]] = {
    "words": ("vocabulary", "embedding"),
    "positions": ("positions", "embedding"),
    "types": ("types", "embedding"),
    "embedded": ("embedding",),
    "project": ("hidden", "embedding"),
    "distances": ("buckets", "heads"),
    "relative": ("both_buckets", "hidden"),
    "relative_norm": ("hidden",),
    "query": ("hidden", "hidden"),
    "key": ("hidden", "hidden"),
    "value": ("hidden", "hidden"),
    "attended": ("hidden", "hidden"),
    "attended_norm": ("hidden",),
    "entry_norm": ("hidden",),
    "up": ("inner", "hidden"),
    "gate": ("inner", "hidden"),
    "down": ("hidden", "inner"),
    "norm": ("hidden",),
    "final_norm": ("hidden",),
    "head": ("hidden", "hidden"),
    "head_norm": ("hidden",),
    "labels": ("labels", "hidden"),
}
_TABLES: Final = frozenset({"words", "positions", "types", "distances", "relative"})
# Above the trunk.
_HEAD: Final = frozenset({"head", "head_norm", "labels"})


def read_sizes(family: Family, config: Mapping[str, object]) -> dict[str, int]:
    """Return name -> size.

    Raises:
        ValueError: the configuration is not one of this family; says which value.
    """
    sizes = {size: _size(config, *named) for size, named in family.sizes.items()}
    sizes.setdefault("embedding", sizes["hidden"])
    if "buckets" in sizes:  # of distances; DeBERTa counts those of one direction
        sizes["both_buckets"] = 2 * sizes["buckets"]
    try:
        sizes["labels"] = count_labels(config)
    except ModelLoadError as error:
        raise ValueError(str(error)) from error
    if sizes["hidden"] % sizes["heads"]:
        raise ValueError("the hidden size is no multiple of the number of heads")
    if family.attention == "rotary":
        read_layers(config, sizes["layers"])
        if sizes["hidden"] // sizes["heads"] % 2:
            raise ValueError("the size of a head is odd")
    return sizes


def weight_shapes(family: Family, sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of every weight in the files."""
    return _shapes(family, sizes, frozenset())


def trunk_weights(family: Family, sizes: Mapping[str, int]) -> frozenset[str]:
    """Return the names of all weights below the head."""
    return frozenset(_shapes(family, sizes, _HEAD))


def _shapes(
    family: Family, sizes: Mapping[str, int], without: frozenset[str]
) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for kind, part, number in _all_parts(family, sizes):
        if kind in without:
            continue
        rows, *columns = (sizes[size] for size in _SHAPES[kind])
        name = part.name.format(number)
        shapes[f"{name}.weight"] = (rows * part.of, *columns)
        if kind not in _TABLES and (family.has_biases or kind == "labels"):
            shapes[f"{name}.bias"] = (rows * part.of,)
    return shapes


def _all_parts(family: Family, sizes: Mapping[str, int]) -> Iterator[tuple[str, Part, int]]:
    for kind, part in family.parts.items():
        # ELECTRA has this product only if it changes the size
        if kind != "project" or sizes["embedding"] != sizes["hidden"]:
            yield kind, part, 0
    for number in range(sizes["layers"]):
        for kind, part in family.layer.items():
            # the embeddings, which are the input of the first layer, are normalised already
            if kind != "entry_norm" or number > 0:
                yield kind, part, number


def _size(config: Mapping[str, object], name: str, default: int) -> int:
    value = config.get(name, default)
    if type(value) is not int or value < 1:
        raise ValueError(f"{name} is {value!r}")
    return value
