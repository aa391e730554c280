"""Rows of conversations: one turn is a single text, two turns are the tokenizer's pair."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from streamlabel.errors import InferenceError
from streamlabel.models.core.classifier import PreparedText
from streamlabel.models.core.turns import Turn, read_turns
from streamlabel.models.tokens.long_texts import LongTextPolicy
from streamlabel.models.tokens.pairs import PairTemplate, cut_pair
from streamlabel.models.tokens.rows import RowBuilder, TypedRow
from streamlabel.models.tokens.seen import Seen
from streamlabel.models.tokens.text_tokenizer import Cut
from streamlabel.models.tokens.token_types import TokenTypes

__all__ = ["ConversationRows", "MoreTurns"]

# What happens to more turns than two.
MoreTurns = Literal["refuse", "join"]
# Between turns that become one text.
_LINE: Final = "\n"


@dataclass(frozen=True, slots=True)
class ConversationRows:
    """Builds a row from each conversation; see ``models.core.turns``.

    Attributes:
        single: builds the rows of single texts, from which control tokens are kept out.
        pair: joins two texts.
        pair_tokens: tokens of both texts that fit in a row.
        more_turns: refuse: a conversation of more than two turns is an error of that record; join:
            all turns but the last are the first text, with a line break between them.
        types: token types of a single text; None: the model has none, and rows have none.
    """

    single: RowBuilder
    pair: PairTemplate
    pair_tokens: int
    more_turns: MoreTurns = "refuse"
    types: TokenTypes | None = None

    @property
    def policy(self) -> LongTextPolicy:
        """What happens to long texts."""
        return self.single.policy

    @property
    def digest(self) -> str:
        """Digest of all that the rows of a conversation depend on: equal ones build equal rows."""
        about = (
            f"{self.single.digest} {self.pair} {self.pair_tokens} {self.more_turns} {self.types}"
        )
        return hashlib.sha256(about.encode()).hexdigest()

    def build(self, texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        """Return the row of each conversation; its payload is one row, typed if there are types."""
        places: list[range | InferenceError] = []
        pieces: list[str] = []
        for text in texts:
            try:
                found = self._texts(read_turns(text))
            except ValueError as error:
                places.append(InferenceError(f"the conversation cannot be classified: {error}"))
                continue
            places.append(range(len(pieces), len(pieces) + len(found)))
            pieces += found
        cuts = self.single.tokenizer.encode(pieces)
        return [
            each if isinstance(each, InferenceError) else self._row([cuts[i] for i in each])
            for each in places
        ]

    def _texts(self, turns: Sequence[Turn]) -> list[str]:
        """Return one or two texts. Raises ValueError for more turns, unless they are joined."""
        texts = [turn.content for turn in turns]
        if len(texts) <= 2:
            return texts
        if self.more_turns == "refuse":
            raise ValueError(
                f"it has {len(texts)} turns and an encoder reads two; leave turns out, or set"
                " model.more_turns: join"
            )
        return [_LINE.join(texts[:-1]), texts[-1]]

    def _row(self, found: Sequence[Cut | InferenceError]) -> PreparedText | InferenceError:
        """Return the row of one or two texts, or the error of one of them."""
        cuts = [cut for cut in found if not isinstance(cut, InferenceError)]
        errors = [cut for cut in found if isinstance(cut, InferenceError)]
        if errors:
            return errors[0]
        return self._single(cuts[0]) if len(cuts) == 1 else self._pair(*cuts)

    def _single(self, cut: Cut) -> PreparedText:
        kept = cut.ids[: self.single.policy.capacity_tokens]
        ids = [*self.single.before, *kept, *self.single.after]
        types = None if self.types is None else self.types.of_row(len(ids))
        return _prepared(ids, types, cut.seen, truncated=cut.length > len(kept))

    def _pair(self, first: Cut, second: Cut) -> PreparedText:
        one, two = cut_pair(first.length, second.length, self.pair_tokens)
        ids = self.pair.ids(first.ids[:one], second.ids[:two])
        types = None if self.types is None else self.pair.types_of(one, two)
        seen = self.single.tokenizer.look([*first.ids[:one], *second.ids[:two]])
        # The last turn is judged: of a pair with an unreadable one, nothing of it is seen.
        is_unreadable = self.single.tokenizer.look(second.ids[:two]).is_unreadable
        truncated = (one, two) != (first.length, second.length)
        return _prepared(ids, types, Seen(seen.unknown_share, is_unreadable), truncated=truncated)


def _prepared(
    ids: list[int], types: list[int] | None, seen: Seen, *, truncated: bool
) -> PreparedText:
    row = np.array(ids, dtype=np.int32).tobytes()
    typed = None if types is None else TypedRow(row, np.array(types, dtype=np.int32).tobytes())
    return PreparedText(
        tokens=len(ids),
        payload=(typed or row,),
        truncated=truncated,
        unknown_share=seen.unknown_share,
        is_unreadable=seen.is_unreadable,
    )
