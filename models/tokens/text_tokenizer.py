"""From a text of any length to the token ids for the model, in bounded time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from streamlabel.errors import InferenceError, ModelLoadError
from streamlabel.models.core.surrogates import without_surrogates
from streamlabel.models.tokens.controls import Controls
from streamlabel.models.tokens.seen import Seen, SeenTokens

__all__ = ["Cut", "TextTokenizer", "special_tokens"]

PROBE = "a b"
CHARS_PER_TOKEN = 8  # for the first prefix; ordinary text has 1 to 6
LEAST_CHARS = 2048  # shorter texts are always tokenised whole
SLICE_CHARS = 1 << 18  # maximum characters of one tokenizer call: it then uses about 60 MB


@dataclass(frozen=True, slots=True)
class Cut:
    """The first tokens of a text.

    Attributes:
        ids: token ids without special tokens, at most the limit.
        has_more: the text has more tokens than these.
        seen: how much of the text they represent.
        length: number of its tokens that were counted: all of them, unless it is so long that only
            a beginning with more tokens than the limit was read.
    """

    ids: list[int]
    has_more: bool
    seen: Seen
    length: int


class TextTokenizer:
    """Tokenises texts of any length and content, up to a number of tokens.

    Of a long text a prefix is tokenised, which grows until it contains enough tokens, so that the
    cost for 5 MB is bounded by the maximum length of the model. The last word of a prefix is not
    used, because it may be cut. The number of characters gives no lower bound on tokens (WordPiece
    turns a word of more than 100 characters into one [UNK], and white space gives none), so the
    prefix may grow to the whole text.

    Args:
        backend: a ``tokenizers.Tokenizer`` that neither pads nor truncates.
        limit_tokens: maximum tokens of a text, special tokens not included.
        controls: tokens that no text may have; None: a text may spell special tokens.
    """

    def __init__(
        self,
        backend: Any,  # noqa: ANN401 untyped library
        *,
        limit_tokens: int,
        controls: Controls | None = None,
    ) -> None:
        self._backend = backend
        self._controls = controls
        self._limit_tokens = limit_tokens
        self._first_chars = max(LEAST_CHARS, CHARS_PER_TOKEN * limit_tokens)
        self._seen = SeenTokens(backend)

    @property
    def vocabulary(self) -> int:
        """Number of tokens in the vocabulary."""
        return int(self._backend.get_vocab_size())

    @property
    def definition(self) -> str:
        """The whole tokenizer as JSON; equal ones make equal tokens."""
        return str(self._backend.to_str())

    def encode(self, texts: Sequence[str]) -> list[Cut | InferenceError]:
        """Return the first tokens of every text, or an InferenceError for that text alone."""
        clean = [without_surrogates(text) for text in texts]
        if self._controls is not None:
            clean = [self._controls.as_text(text) for text in clean]
        short = [i for i, text in enumerate(clean) if len(text) <= self._first_chars]
        cuts: list[Cut | InferenceError | None] = [None] * len(clean)
        for i, cut in zip(short, self._encode_short([clean[i] for i in short]), strict=True):
            cuts[i] = cut
        return [self._guarded(clean[i]) if cut is None else cut for i, cut in enumerate(cuts)]

    def _encode_short(self, texts: list[str]) -> list[Cut | None]:
        try:
            encodings = self._backend.encode_batch_fast(texts, add_special_tokens=False)
        except Exception:  # noqa: BLE001 tokenizers raises bare Exception; found one by one below
            return [None] * len(texts)
        return [self._cut(encoding.ids) for encoding in encodings]

    def _guarded(self, text: str) -> Cut | InferenceError:
        try:
            return self._encode_long(text)
        except Exception as error:  # noqa: BLE001 tokenizers raises bare Exception
            return InferenceError(f"the tokenizer refuses this text: {type(error).__name__}")

    def _cut(self, ids: list[int]) -> Cut:
        if self._controls is not None:
            ids = self._controls.replaced(ids)
        kept = ids[: self._limit_tokens]
        has_more = len(ids) > self._limit_tokens
        return Cut(kept, has_more, self._seen.look(kept), length=len(ids))

    def look(self, ids: Sequence[int]) -> Seen:
        """Return how much of a text its tokens represent."""
        return self._seen.look(ids)

    def _encode_long(self, text: str) -> Cut:
        size = min(self._first_chars, SLICE_CHARS)
        while True:
            encoding = self._backend.encode(text[:size], add_special_tokens=False)
            if size >= len(text):
                return self._cut(encoding.ids)
            if _settled(encoding) > self._limit_tokens:
                return self._cut(encoding.ids)
            if size == SLICE_CHARS:
                return self._encode_slices(text)
            size = min(4 * size, SLICE_CHARS)

    def _encode_slices(self, text: str) -> Cut:
        """Tokenise a text with very few tokens for its length, slice by slice.

        A slice starts where the last, possibly incomplete word of the previous one began. Only a
        word longer than a slice is cut; if it is unknown, its further parts belong to the same
        unknown token.
        """
        ids: list[int] = []
        start, in_word = 0, False
        while start < len(text) and len(ids) <= self._limit_tokens:
            encoding = self._backend.encode(
                text[start : start + SLICE_CHARS], add_special_tokens=False
            )
            at_end = start + SLICE_CHARS >= len(text)
            settled = len(encoding.ids) if at_end else _settled(encoding)
            fills_slice = settled == 0
            skip = int(in_word and self._continues_unknown(encoding, ids))
            ids += encoding.ids[skip:] if fills_slice else encoding.ids[skip:settled]
            in_word = fills_slice and len(encoding.ids) > 0
            start += (
                SLICE_CHARS
                if fills_slice or at_end
                else encoding.offsets[settled][0] or SLICE_CHARS
            )
        return self._cut(ids)

    def _continues_unknown(self, encoding: Any, ids: list[int]) -> bool:  # noqa: ANN401 untyped
        return (
            len(encoding.ids) > 0
            and encoding.ids[0] == ids[-1] == self._seen.unknown_id
            and encoding.offsets[0][0] == 0
        )


def _settled(encoding: Any) -> int:  # noqa: ANN401 untyped library
    """Return the number of tokens before the last word, which may have been cut."""
    words = encoding.word_ids
    if not words:
        return 0
    count = len(words)
    while count and words[count - 1] == words[-1]:
        count -= 1
    return count


def special_tokens(backend: Any) -> tuple[list[int], list[int]]:  # noqa: ANN401 untyped library
    """Return the special tokens before and after a single text.

    Raises:
        ModelLoadError: they are not simply before and after.
    """
    plain = backend.encode(PROBE, add_special_tokens=False).ids
    whole = backend.encode(PROBE).ids
    for start in range(len(whole) - len(plain) + 1):
        if whole[start : start + len(plain)] == plain:
            return whole[:start], whole[start + len(plain) :]
    raise ModelLoadError(
        "model.path: the tokenizer does not put its special tokens before and after a text;"
        " name a model with a BERT-type tokenizer"
    )
