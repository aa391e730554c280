"""Reads a BERT tokenizer.json as it is, where transformers would come to the same tokenizer."""

import json
from collections.abc import Mapping
from typing import Any, Final

from streamlabel.errors import ModelLoadError
from streamlabel.models.checkpoint import Checkpoint

__all__ = ["read_tokenizer"]

SPECIAL: Final = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
# The first two rebuild a tokenizer from the vocabulary and tokenizer_config.json, the others take
# the file as it is; what ``_is_plain`` checks makes both come to the same.
CLASSES: Final = {
    "BertTokenizer",
    "BertTokenizerFast",
    "PreTrainedTokenizerFast",
    "TokenizersBackend",
}


def read_tokenizer(checkpoint: Checkpoint) -> Any | None:  # noqa: ANN401 tokenizers is untyped
    """Return the ``tokenizers.Tokenizer`` of a plain BERT; None: only transformers can tell.

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
    # The file remembers how its author last used it; we cut and pad ourselves.
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
        and not (checkpoint.folder / "added_tokens.json").exists()
        and all(_content(config.get(name, token)) == token for name, token in SPECIAL.items())
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
        token[flag] for token in added for flag in ("lstrip", "rstrip", "single_word", "normalized")
    )


def _content(token: object) -> object:
    return token.get("content") if isinstance(token, dict) else token
