"""Names and shapes of the weights of a plain BERT classifier, from its config.json."""

from collections.abc import Mapping
from typing import Final

from streamlabel.errors import ModelLoadError
from streamlabel.models.files.label_names import count_labels

__all__ = ["bert_shapes", "size"]

# Defaults of transformers for values that config.json does not contain.
_DEFAULTS: Final = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
}


def bert_shapes(config: Mapping[str, object]) -> dict[str, tuple[int, ...]] | None:
    """Return name -> shape of every weight; None if the configuration is not that of a BERT."""
    try:
        words, hidden, count, heads, inner, positions, types = (
            size(config, name) for name in _DEFAULTS
        )
        labels = count_labels(config)
    except (ModelLoadError, ValueError):
        return None
    if hidden % heads:
        return None
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, wide: int, narrow: int) -> None:
        shapes[f"{name}.weight"] = (wide, narrow)
        shapes[f"{name}.bias"] = (wide,)

    def norm(name: str) -> None:
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (hidden,)

    embeddings = "bert.embeddings"
    shapes[f"{embeddings}.word_embeddings.weight"] = (words, hidden)
    shapes[f"{embeddings}.position_embeddings.weight"] = (positions, hidden)
    shapes[f"{embeddings}.token_type_embeddings.weight"] = (types, hidden)
    norm(f"{embeddings}.LayerNorm")
    for number in range(count):
        layer = f"bert.encoder.layer.{number}"
        for part in ("query", "key", "value"):
            linear(f"{layer}.attention.self.{part}", hidden, hidden)
        linear(f"{layer}.attention.output.dense", hidden, hidden)
        norm(f"{layer}.attention.output.LayerNorm")
        linear(f"{layer}.intermediate.dense", inner, hidden)
        linear(f"{layer}.output.dense", hidden, inner)
        norm(f"{layer}.output.LayerNorm")
    linear("bert.pooler.dense", hidden, hidden)
    linear("classifier", labels, hidden)
    return shapes


def size(config: Mapping[str, object], name: str) -> int:
    """Return a number of the configuration; ValueError if it is no positive integer."""
    number = config.get(name, _DEFAULTS[name])
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise ValueError(name)
    return number
