"""The tokenizer of an encoder: how it encodes a text, and how it joins two."""

from dataclasses import dataclass
from itertools import chain
from typing import Any

from streamlabel.config.model import EncoderSettings
from streamlabel.models.encoder.pretrained import load_tokenizer
from streamlabel.models.files.checkpoint import Checkpoint
from streamlabel.models.files.tokenizer_file import read_tokenizer
from streamlabel.models.tokens.controls import Controls
from streamlabel.models.tokens.conversation_rows import ConversationRows
from streamlabel.models.tokens.long_texts import LongTextPolicy
from streamlabel.models.tokens.pairs import PairTemplate, read_pair_template
from streamlabel.models.tokens.rows import RowBuilder, TextRows
from streamlabel.models.tokens.text_tokenizer import TextTokenizer, special_tokens
from streamlabel.models.tokens.token_types import TokenTypes, read_token_types

__all__ = ["Words", "build_rows", "load_words"]


@dataclass(frozen=True, slots=True)
class Words:
    """The tokenizer of a model.

    Attributes:
        backend: a ``tokenizers.Tokenizer`` that neither pads nor truncates.
        before: special tokens in front of every row.
        after: special tokens behind every row.
        types: its token types; None if it has none.
        pair: how it joins two texts, if the model reads pairs. Then ``backend`` encodes special
            tokens as text.
    """

    backend: Any
    before: tuple[int, ...]
    after: tuple[int, ...]
    types: TokenTypes | None = None
    pair: PairTemplate | None = None

    @property
    def count(self) -> int:
        """Number of tokens in the vocabulary."""
        return int(self.backend.get_vocab_size())

    @property
    def ordinary(self) -> int:
        """The id of a token of ordinary text; the ends of a vocabulary may hold special tokens."""
        return self.some(1)[0]

    def some(self, count: int) -> list[int]:
        """Return ``count`` token ids that stand for text."""
        special = {*self.before, *self.after, *self.backend.get_added_tokens_decoder()}
        middle = self.count // 2
        numbers = [n for n in range(middle, middle + count + len(special)) if n < self.count]
        usable = [n for n in chain(numbers, range(self.count)) if n not in special]
        return usable[:count] or [middle]


def load_words(checkpoint: Checkpoint, *, pairs: bool = False) -> Words:
    """Return the tokenizer.

    Args:
        checkpoint: with its files.
        pairs: the model reads pairs.

    Raises:
        ModelLoadError: it is incomplete or not the model's.
    """
    plain = read_tokenizer(checkpoint)
    backend, gives_types = (plain, True) if plain else load_tokenizer(checkpoint)
    numbers = backend.get_vocab(with_added_tokens=True).values()
    checkpoint.refuse_other_vocabulary(max(numbers, default=-1) + 1)
    before, after = special_tokens(backend)
    types = read_token_types(backend, before=len(before), after=len(after))
    pair = None
    if pairs:
        pair = read_pair_template(backend)
        backend.encode_special_tokens = True  # meaning: encode them as text
    return Words(backend, tuple(before), tuple(after), types if gives_types else None, pair)


def build_rows(words: Words, settings: EncoderSettings, max_tokens: int) -> TextRows:
    """Return a builder of rows of at most ``max_tokens`` tokens."""
    policy = LongTextPolicy(
        capacity_tokens=max_tokens - len(words.before) - len(words.after),
        long_text=settings.long_text,
        overlap_tokens=settings.window_stride_tokens,
        max_windows=settings.max_windows,
    )
    if words.pair is None:
        tokenizer = TextTokenizer(words.backend, limit_tokens=policy.limit_tokens)
        return RowBuilder(tokenizer, words.before, words.after, policy)
    pair_tokens = words.pair.capacity_tokens(max_tokens)
    around = (*words.before, *words.after, *words.pair.special_tokens)
    tokenizer = TextTokenizer(
        words.backend,
        limit_tokens=max(policy.limit_tokens, pair_tokens),
        controls=Controls(words.backend, around),
    )
    single = RowBuilder(tokenizer, words.before, words.after, policy)
    return ConversationRows(single, words.pair, pair_tokens, settings.more_turns, words.types)
