"""Encoder families of the packed forward pass: one table a family says where its weights are.

A family is known by ``architectures`` in config.json. What its config.json can say beyond these
tables (another kind of positions, a decoder, a convolution) is refused here, and transformers
computes the model. Families other than BERT are also compared with transformers at load.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

__all__ = ["ACTIVATIONS", "FAMILIES", "Family", "Part"]

# Activations by their names in transformers; equal functions have equal values.
ACTIVATIONS: Final = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}


@dataclass(frozen=True, slots=True)
class Part:
    """A weight, or one of the equal parts that its rows consist of.

    Attributes:
        name: in the files, without ".weight"; ``{}`` is the number of the layer.
        at: number of the part.
        of: how many parts the weight has.
    """

    name: str
    at: int = 0
    of: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Where the weights of a family are, and what it computes.

    Attributes:
        model_type: in config.json.
        architecture: the one class in ``architectures``.
        sizes: size -> name in config.json and transformers' default.
        parts: weights outside the layers.
        layer: weights of a layer.
        activation: name in config.json.
        epsilon: name in config.json (None: fixed) and default.
        head: activation between the two products of the head.
        padding: default of ``pad_token_id`` if positions are counted from it, over tokens that are
            not padding; None: from 0.
        is_padding_fixed: ``pad_token_id`` of config.json does not matter.
        attention: how positions enter attention.
        needs: name in config.json -> accepted values; None: it need not be there.
        has_biases: besides the label scores, products and normalisations have biases.
        is_proven: tests prove that it is equal to transformers for everything that it accepts, so
            that it need not be compared at load.
    """

    model_type: str
    architecture: str
    sizes: Mapping[str, tuple[str, int]]
    parts: Mapping[str, Part]
    layer: Mapping[str, Part]
    activation: str = "hidden_act"
    epsilon: tuple[str | None, float] = ("layer_norm_eps", 1e-12)
    head: str = "tanh"
    padding: int | None = None
    is_padding_fixed: bool = False
    attention: Literal["plain", "bucketed", "disentangled", "rotary"] = "plain"
    needs: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    has_biases: bool = True
    is_proven: bool = False


_SIZES: Final = {
    "vocabulary": ("vocab_size", 30522),
    "hidden": ("hidden_size", 768),
    "layers": ("num_hidden_layers", 12),
    "heads": ("num_attention_heads", 12),
    "inner": ("intermediate_size", 3072),
    "positions": ("max_position_embeddings", 512),
    "types": ("type_vocab_size", 2),
}
_ABSOLUTE: Final = {"position_embedding_type": ("absolute", None)}


def _named(base: str, names: Mapping[str, str]) -> dict[str, Part]:
    return {part: Part(f"{base}{name}") for part, name in names.items()}


_TABLES: Final = {
    "words": "word_embeddings",
    "positions": "position_embeddings",
    "types": "token_type_embeddings",
    "embedded": "LayerNorm",
}
_LAYER: Final = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attended": "attention.output.dense",
    "attended_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "norm": "output.LayerNorm",
}
# A head of two products, besides the encoder.
_OWN_HEAD: Final = {"head": Part("classifier.dense"), "labels": Part("classifier.out_proj")}


_BERT: Final = Family(
    model_type="bert",
    architecture="BertForSequenceClassification",
    sizes=_SIZES,
    parts=_named("bert.embeddings.", _TABLES)
    | {"head": Part("bert.pooler.dense"), "labels": Part("classifier")},
    layer=_named("bert.encoder.layer.{}.", _LAYER),
    needs=_ABSOLUTE,
    is_proven=True,
)

_ROBERTA: Final = Family(
    model_type="roberta",
    architecture="RobertaForSequenceClassification",
    sizes=_SIZES | {"vocabulary": ("vocab_size", 50265)},
    parts=_named("roberta.embeddings.", _TABLES) | _OWN_HEAD,
    layer=_named("roberta.encoder.layer.{}.", _LAYER),
    padding=1,
    needs=_ABSOLUTE,
)

_ELECTRA: Final = Family(
    model_type="electra",
    architecture="ElectraForSequenceClassification",
    sizes=_SIZES
    | {
        "hidden": ("hidden_size", 256),
        "heads": ("num_attention_heads", 4),
        "inner": ("intermediate_size", 1024),
        "embedding": ("embedding_size", 128),
    },
    parts=_named("electra.embeddings.", _TABLES)
    | {"project": Part("electra.embeddings_project")}
    | _OWN_HEAD,
    layer=_named("electra.encoder.layer.{}.", _LAYER),
    head="gelu",
    needs=_ABSOLUTE,
)

_DISTILBERT: Final = Family(
    model_type="distilbert",
    architecture="DistilBertForSequenceClassification",
    sizes={
        "vocabulary": ("vocab_size", 30522),
        "hidden": ("dim", 768),
        "layers": ("n_layers", 6),
        "heads": ("n_heads", 12),
        "inner": ("hidden_dim", 3072),
        "positions": ("max_position_embeddings", 512),
    },
    parts=_named(
        "distilbert.embeddings.", {part: _TABLES[part] for part in _TABLES if part != "types"}
    )
    | {"head": Part("pre_classifier"), "labels": Part("classifier")},
    layer=_named(
        "distilbert.transformer.layer.{}.",
        {
            "query": "attention.q_lin",
            "key": "attention.k_lin",
            "value": "attention.v_lin",
            "attended": "attention.out_lin",
            "attended_norm": "sa_layer_norm",
            "up": "ffn.lin1",
            "down": "ffn.lin2",
            "norm": "output_layer_norm",
        },
    ),
    activation="activation",
    epsilon=(None, 1e-12),
    head="relu",
)

_MPNET: Final = Family(
    model_type="mpnet",
    architecture="MPNetForSequenceClassification",
    sizes={name: size for name, size in _SIZES.items() if name != "types"}
    | {
        "vocabulary": ("vocab_size", 30527),
        "buckets": ("relative_attention_num_buckets", 32),
    },
    parts=_named("mpnet.embeddings.", {part: _TABLES[part] for part in _TABLES if part != "types"})
    | {"distances": Part("mpnet.encoder.relative_attention_bias")}
    | _OWN_HEAD,
    layer=_named(
        "mpnet.encoder.layer.{}.",
        _LAYER
        | {
            "query": "attention.attn.q",
            "key": "attention.attn.k",
            "value": "attention.attn.v",
            "attended": "attention.attn.o",
            "attended_norm": "attention.LayerNorm",
        },
    ),
    padding=1,
    is_padding_fixed=True,
    attention="bucketed",
    # transformers computes with 32 buckets, whatever the size of the table is
    needs={"relative_attention_num_buckets": (32, None)},
)

# DeBERTa-v3, and v2 where it has no convolution
_DEBERTA: Final = Family(
    model_type="deberta-v2",
    architecture="DebertaV2ForSequenceClassification",
    sizes={
        "vocabulary": ("vocab_size", 128100),
        "hidden": ("hidden_size", 1536),
        "layers": ("num_hidden_layers", 24),
        "heads": ("num_attention_heads", 24),
        "inner": ("intermediate_size", 6144),
        "positions": ("max_position_embeddings", 512),
        "buckets": ("position_buckets", -1),
    },
    parts={
        "words": Part("deberta.embeddings.word_embeddings"),
        "embedded": Part("deberta.embeddings.LayerNorm"),
        "relative": Part("deberta.encoder.rel_embeddings"),
        "relative_norm": Part("deberta.encoder.LayerNorm"),
        "head": Part("pooler.dense"),
        "labels": Part("classifier"),
    },
    layer=_named(
        "deberta.encoder.layer.{}.",
        _LAYER
        | {
            "query": "attention.self.query_proj",
            "key": "attention.self.key_proj",
            "value": "attention.self.value_proj",
        },
    ),
    epsilon=("layer_norm_eps", 1e-7),
    head="gelu",
    attention="disentangled",
    needs={
        "relative_attention": (True,),
        "share_att_key": (True,),
        "norm_rel_ebd": ("layer_norm",),
        "pos_att_type": (["p2c", "c2p"], ["c2p", "p2c"], "p2c|c2p", "c2p|p2c"),
        "position_biased_input": (False,),
        "max_relative_positions": (-1, None),
        "type_vocab_size": (0, None),
        "conv_kernel_size": (0, None),
        "embedding_size": (None,),
        "attention_head_size": (None,),
        "pooler_hidden_act": ("gelu", None),
    },
)

_MODERNBERT: Final = Family(
    model_type="modernbert",
    architecture="ModernBertForSequenceClassification",
    sizes={
        "vocabulary": ("vocab_size", 50368),
        "hidden": ("hidden_size", 768),
        "layers": ("num_hidden_layers", 22),
        "heads": ("num_attention_heads", 12),
        "inner": ("intermediate_size", 1152),
        "positions": ("max_position_embeddings", 8192),
        "window": ("local_attention", 128),
    },
    parts={
        "words": Part("model.embeddings.tok_embeddings"),
        "embedded": Part("model.embeddings.norm"),
        "final_norm": Part("model.final_norm"),
        "head": Part("head.dense"),
        "head_norm": Part("head.norm"),
        "labels": Part("classifier"),
    },
    layer={
        "entry_norm": Part("model.layers.{}.attn_norm"),
        "query": Part("model.layers.{}.attn.Wqkv", 0, 3),
        "key": Part("model.layers.{}.attn.Wqkv", 1, 3),
        "value": Part("model.layers.{}.attn.Wqkv", 2, 3),
        "attended": Part("model.layers.{}.attn.Wo"),
        "attended_norm": Part("model.layers.{}.mlp_norm"),
        "up": Part("model.layers.{}.mlp.Wi", 0, 2),
        "gate": Part("model.layers.{}.mlp.Wi", 1, 2),
        "down": Part("model.layers.{}.mlp.Wo"),
    },
    activation="hidden_activation",
    epsilon=("norm_eps", 1e-5),
    head="gelu",
    attention="rotary",
    needs={
        "attention_bias": (False, None),
        "mlp_bias": (False, None),
        "norm_bias": (False, None),
        "classifier_bias": (False, None),
        "classifier_pooling": ("cls", "mean", None),
        "classifier_activation": ("gelu", None),
        "rope_scaling": (None,),
        "head_dim": (None,),
    },
    has_biases=False,
)

FAMILIES: Final[Mapping[str, Family]] = {
    family.architecture: family
    for family in (
        _BERT,
        _ROBERTA,
        replace(
            _ROBERTA,
            model_type="xlm-roberta",
            architecture="XLMRobertaForSequenceClassification",
            sizes=_SIZES,
        ),
        replace(
            _ROBERTA,
            model_type="camembert",
            architecture="CamembertForSequenceClassification",
            sizes=_SIZES,
        ),
        _ELECTRA,
        _DISTILBERT,
        _MPNET,
        _DEBERTA,
        _MODERNBERT,
    )
}
