"""The prompts of conversations: each order of turns has a prompt with a mark for every turn.

As in the prompt of a single text, control tokens split a prompt into pieces that are tokenised
separately; a piece with a turn is tokenised without control tokens, so that no turn can change the
structure of the prompt or pass for another turn.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from streamlabel.errors import ConfigError, InferenceError
from streamlabel.models.core.surrogates import without_surrogates
from streamlabel.models.core.turns import Turn, read_turns
from streamlabel.models.prompts.prompt_shape import (
    CHARS_PER_TOKEN,
    LEAST_TEXT_TOKENS,
    PROBES,
    EncodedText,
    Keep,
    Prompt,
    common_beginning,
)
from streamlabel.models.prompts.prompt_tokens import PromptTokenizer
from streamlabel.models.prompts.turn_shape import Rendered, TurnShape
from streamlabel.models.tokens.seen import Seen

__all__ = ["ConversationPrompt", "Roles"]

Roles = tuple[str, ...]
# Orders of turns whose prompts are kept; a conversation may have any.
_KEPT_SHAPES: Final = 64
_USUAL: Final[tuple[Roles, ...]] = (("user",), ("user", "assistant"), ("user", "assistant", "user"))


class ConversationPrompt(Prompt):
    """The prompt of one task for one model, for texts that are conversations.

    A conversation that is too long loses its oldest turns first, then the middle of what is left.

    Args:
        render: roles -> the prompt of that order of turns; raises ValueError if there is none.
        tokenizer: of the model.
        max_tokens: longest prompt.
        keep: which end of a turn that is too long is kept.

    Attributes:
        rendered: the prompt of a single turn, with its mark.
        shared_ids: common prefix of usual prompts.
    """

    def __init__(  # not that of a prompt with one text
        self,
        render: Callable[[Roles], Rendered],
        *,
        tokenizer: PromptTokenizer,
        max_tokens: int,
        keep: Keep,
    ) -> None:
        self._render = render
        self._tokenizer = tokenizer
        self._keep = keep
        self.max_tokens = max_tokens
        self._shapes: OrderedDict[Roles, TurnShape] = OrderedDict()
        first, *others = (self._usual(roles) for roles in _USUAL)
        self.rendered = first.rendered.text
        self.prefix_ids, self.suffix_ids = first.around_turns
        for other in others:
            if other.answer_begins != first.answer_begins:
                raise ConfigError(
                    "model.chat_template: what precedes the answer depends on the turns, so answers"
                    " cannot be read in the same way; set model.task.conversations: false"
                )
        self.around_tokens = max(each.around_tokens for each in (first, *others))
        room = max_tokens - self.around_tokens
        if room < LEAST_TEXT_TOKENS * len(_USUAL[-1]):
            raise ConfigError(
                f"model.max_tokens: instruction, examples and chat template use"
                f" {self.around_tokens} of {max_tokens} tokens and leave no room for a"
                " conversation; raise it, or shorten model.task"
            )
        written = [first.rendered.write(probe) for probe in PROBES]
        rows = [shape.ids([text] * 3) for shape in (first, *others) for text in written]
        self.shared_ids = common_beginning(rows)

    def encode(self, text: str) -> EncodedText:
        """Return the prompt for a conversation; see ``models.core.turns``.

        Raises:
            InferenceError: it is none, or the template has no prompt for its order of turns.
        """
        try:
            turns = read_turns(without_surrogates(text))
            return self._encode(turns)
        except ValueError as error:
            raise InferenceError(f"the conversation cannot be asked about: {error}") from None

    def digest(self, *parts: object) -> str:
        """Return the prompt's version: 12 hex digits of all around the turns, and ``parts``."""
        shapes = [self._shape(roles).pieces for roles in _USUAL]
        content = [[(p.ids, p.words, p.places) for p in pieces] for pieces in shapes]
        whole = json.dumps([content, *parts], default=str)
        return hashlib.sha256(whole.encode()).hexdigest()[:12]

    def _encode(self, turns: tuple[Turn, ...]) -> EncodedText:
        limit = CHARS_PER_TOKEN * self.max_tokens
        kept = tuple(self._short(turn, limit) for turn in turns)
        was_cut = kept != turns
        sizes = [len(self._tokenizer.plain(turn.content).ids) for turn in kept]
        while (
            len(later := _without_oldest(kept))
            and self._shape_of(kept).around_tokens + sum(sizes) > self.max_tokens
        ):
            sizes, kept, was_cut = sizes[len(kept) - len(later) :], later, True
        shape = self._shape_of(kept)
        texts = [shape.rendered.write(turn.content) for turn in kept]
        ids = shape.ids(texts)
        room = self.max_tokens - shape.around_tokens
        if room < 0:
            raise ValueError("it has too many turns for model.max_tokens")
        while len(ids) > self.max_tokens:
            was_cut = True
            # The judged turn comes last and gets what the others, a quarter at most, leave over.
            part = max(0, room) // (4 * len(kept))
            most = [min(size, part) for size in sizes[:-1]]
            most.append(max(0, room) - sum(most))
            texts = [
                shape.rendered.write(self._cut_turn(turn.content, size))
                for turn, size in zip(kept, most, strict=True)
            ]
            ids = shape.ids(texts)
            # where ends meet there may be more tokens than before
            room -= max(1, len(ids) - self.max_tokens)
        is_shared = ids[: len(self.shared_ids)] == self.shared_ids
        return EncodedText(ids, was_cut, is_shared, self._seen(texts[-1]))

    def _seen(self, text: str) -> Seen:
        return self._tokenizer.seen.look(self._tokenizer.plain(text).ids)

    def _short(self, turn: Turn, limit: int) -> Turn:
        content = turn.content
        if len(content) <= limit:
            return turn
        half = limit // 2 if self._keep == "head_tail" else 0
        return Turn(turn.role, content[: limit - half] + content[len(content) - half :])

    def _cut_turn(self, text: str, most: int) -> str:
        found = self._tokenizer.plain(text)
        if len(found.ids) <= most:
            return text
        tail = most // 2 if self._keep == "head_tail" else 0
        starts = [start for start, _ in found.spans] + [len(text)]
        return text[: starts[max(0, most - tail)]] + text[starts[len(starts) - 1 - tail] :]

    def _shape_of(self, turns: Sequence[Turn]) -> TurnShape:
        return self._shape(tuple(turn.role for turn in turns))

    def _shape(self, roles: Roles) -> TurnShape:
        if (shape := self._shapes.get(roles)) is None:
            shape = TurnShape(self._render(roles), len(roles), self._tokenizer)
            self._shapes[roles] = shape
            while len(self._shapes) > _KEPT_SHAPES:
                self._shapes.popitem(last=False)
        return shape

    def _usual(self, roles: Roles) -> TurnShape:
        try:
            return self._shape(roles)
        except ValueError as error:
            order = ", ".join(roles)
            raise ConfigError(
                f"model.task.conversations: the chat template has no prompt for the turns {order}"
                f" ({error}); set it to false, or set another template"
            ) from error


def _without_oldest(turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """Return the turns without the oldest, from a turn of the user on; empty if that drops all.

    An answer is judged beside what it answers, so that stays.
    """
    last = len(turns) - (2 if turns[-1].role == "assistant" else 1)
    for start in range(1, last + 1):
        if turns[start].role == "user":
            return turns[start:]
    return ()
