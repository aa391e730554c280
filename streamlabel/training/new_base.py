"""A small encoder with random weights and a tokenizer of its own, for a language without a base."""

from collections.abc import Iterable
from pathlib import Path

from streamlabel.errors import ConfigError
from streamlabel.models.files.model_folder import replaced

__all__ = ["make_base", "unknown_share"]

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_LEAST_PIECES = 200
_LONGEST = 512  # tokens
# A text without spaces or punctuation is one word of hundreds of characters.
_WORD_CHARACTERS = 2000
# Texts in which unknown tokens are counted.
_LOOKED_AT = 500


def make_base(
    texts: Iterable[str], folder: Path, *, pieces: int = 8000, least_count: int = 5, seed: int = 17
) -> int:
    """Save an encoder of two layers, 192 wide, all of whose weights are still random.

    It knows nothing, so that ``fit_head`` trains all of it; thousands of labelled texts make it
    useful. Its vocabulary is characters and frequent word pieces of the texts; which of two
    equally frequent ones comes first differs between runs (a hash map of tokenizers).

    Args:
        texts: of the language; labels are not needed.
        folder: replaced if it exists.
        pieces: largest vocabulary.
        least_count: pieces that are rarer are left out.
        seed: of the weights.

    Returns:
        The size of the vocabulary.

    Raises:
        ConfigError: the texts have too few pieces.
    """
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import ModernBertConfig, ModernBertModel, PreTrainedTokenizerFast

    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), _SPECIAL, strict=True))
    backend = Tokenizer(
        models.WordPiece(unk_token=names["unk_token"], max_input_chars_per_word=_WORD_CHARACTERS)
    )
    backend.normalizer = normalizers.BertNormalizer(handle_chinese_chars=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=pieces,
        min_frequency=least_count,
        special_tokens=list(_SPECIAL),
        show_progress=False,
    )
    backend.train_from_iterator(iter(texts), trainer)
    found = len(backend.get_vocab())
    if found < _LEAST_PIECES:
        raise ConfigError(
            f"the texts have {found:,} pieces that occur {least_count} times, too few for a"
            f" vocabulary ({_LEAST_PIECES}): use thousands of texts of the language"
        )
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    config = ModernBertConfig(
        vocab_size=found, hidden_size=192, intermediate_size=288,
        num_hidden_layers=2, num_attention_heads=6, layer_types=["full_attention"] * 2,
        max_position_embeddings=_LONGEST, classifier_pooling="mean", embedding_dropout=0.2,
        attention_dropout=0.1, mlp_dropout=0.2, classifier_dropout=0.3, pad_token_id=0,
        bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]), replaced(folder) as partial:
        torch.manual_seed(seed)
        ModernBertModel(config).save_pretrained(partial)
        PreTrainedTokenizerFast(
            tokenizer_object=backend, model_max_length=_LONGEST, **names
        ).save_pretrained(partial)
    return found


def unknown_share(encoder: Path, texts: list[str]) -> float:
    """Return the share of tokens that the tokenizer of a model does not know, in [0, 1].

    Args:
        encoder: folder of the model.
        texts: of which the first few hundred are looked at.

    Raises:
        ConfigError: the folder has no tokenizer that can be loaded.
    """
    from transformers import AutoTokenizer

    from streamlabel.models.files.transformers_errors import one_line, unusable

    try:
        tokenizer = AutoTokenizer.from_pretrained(encoder, trust_remote_code=False)
    except unusable() as error:
        raise ConfigError(
            f"{encoder} has no tokenizer that transformers can load ({one_line(error)})"
        ) from error
    unknown = tokenizer.unk_token_id
    if unknown is None or not texts:
        return 0.0
    rows = tokenizer(texts[:_LOOKED_AT], add_special_tokens=False, verbose=False)["input_ids"]
    tokens = sum(map(len, rows))
    return sum(row.count(unknown) for row in rows) / tokens if tokens else 0.0
