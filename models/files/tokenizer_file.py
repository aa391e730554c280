"""Reads a BERT tokenizer.json directly if transformers would build the same tokenizer."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from streamlabel.errors import ModelLoadError
from streamlabel.models.files.checkpoint import Checkpoint

__all__ = ["read_tokenizer"]

SPECIAL: Final = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
# The first two classes rebuild a tokenizer from the vocabulary and tokenizer_config.json, the
# others use the file as it is; ``_is_plain`` checks that both give the same tokenizer.
CLASSES: Final = {
    "BertTokenizer",
    "BertTokenizerFast",
    "PreTrainedTokenizerFast",
    "TokenizersBackend",
}


# Flags that change which characters a token matches.
FLAGS: Final = ("lstrip", "rstrip", "single_word", "normalized")
# Files from which transformers adds tokens to those of tokenizer.json.
ADDING: Final = ("added_tokens.json",)


def read_tokenizer(checkpoint: Checkpoint) -> Any | None:  # noqa: ANN401 tokenizers is untyped
    """Return the ``tokenizers.Tokenizer`` of a plain BERT; None if transformers must build it.

    Saves the two seconds that importing transformers takes.

    Raises:
        ModelLoadError: tokenizer.json cannot be read.
    """
    path = checkpoint.folder / "tokenizer.json"
    if not path.is_file() or not _is_plain_config(checkpoint):
        return None
    from tokenizers import Tokenizer

    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
        if not _is_plain(content, checkpoint.tokenizer_config):
            return None
        backend = Tokenizer.from_str(text)
    except Exception as error:  # tokenizers raises bare Exception
        raise ModelLoadError(
            f"model.path: {path} cannot be read ({type(error).__name__}); save the tokenizer again"
        ) from error
    # The file may store truncation and padding settings; our code does both itself.
    backend.no_truncation()
    backend.no_padding()
    return backend


def _is_plain_config(checkpoint: Checkpoint) -> bool:
    config = checkpoint.tokenizer_config
    return (
        checkpoint.config.get("model_type") == "bert"
        and config.get("tokenizer_class", "BertTokenizer") in CLASSES
        and not config.get("auto_map")
        and not config.get("additional_special_tokens")
        and not config.get("extra_special_tokens")
        and not config.get("fast_tokenizer_files")
        and not any((checkpoint.folder / name).exists() for name in ADDING)
        and all(_content(config.get(name, token)) == token for name, token in SPECIAL.items())
        and {name for name in config if name.endswith("_token")} <= set(SPECIAL)
        and _adds_nothing(config.get("added_tokens_decoder"))
        and _renames_nothing(checkpoint.folder / "special_tokens_map.json")
    )


def _adds_nothing(added: object) -> bool:
    """Whether these tokens are the five special tokens of the vocabulary, unchanged."""
    return added is None or (
        isinstance(added, dict)
        and all(
            isinstance(token, dict)
            and token.get("content") in SPECIAL.values()
            and not any(token.get(flag) for flag in FLAGS)
            for token in added.values()
        )
    )


def _renames_nothing(path: Path) -> bool:
    """Whether the older file with the names of special tokens has the same names."""
    if not path.exists():
        return True
    try:
        names = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False  # transformers then reports what is wrong with it
    return isinstance(names, dict) and all(
        _content(token) == SPECIAL.get(name)
        and not (isinstance(token, dict) and any(token.get(flag) for flag in FLAGS))
        for name, token in names.items()
    )


def _is_plain(content: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    model, normalizer = content["model"], content["normalizer"] or {}
    return (
        model.get("type") == "WordPiece"
        and model["unk_token"] == SPECIAL["unk_token"]
        and model["continuing_subword_prefix"] == "##"
        and model["max_input_chars_per_word"] == 100
        and normalizer
        == {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": config.get("tokenize_chinese_chars", True),
            "strip_accents": config.get("strip_accents"),
            "lowercase": config.get("do_lower_case", True),
        }
        and content["pre_tokenizer"] == {"type": "BertPreTokenizer"}
        and _are_plain(content["added_tokens"])
    )


def _are_plain(added: list[dict[str, Any]]) -> bool:
    return {token["content"] for token in added} == set(SPECIAL.values()) and not any(
        token[flag] for token in added for flag in FLAGS
    )


def _content(token: object) -> object:
    return token.get("content") if isinstance(token, dict) else token
