"""The prompt of one order of turns: pieces between control tokens, some with turns in them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from streamlabel.errors import ModelLoadError
from streamlabel.models.prompts.prompt_shape import PROBES
from streamlabel.models.prompts.prompt_tokens import PromptTokenizer

__all__ = ["Rendered", "TurnShape", "mark"]


def mark(place: int) -> str:
    """Return what stands in a rendered prompt for the turn at this place."""
    return f"[[streamlabel:turn:{place}]]"


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt with marks.

    Attributes:
        text: each turn's mark stands in it once.
        write: how a turn's content is written: stripped, or with its delimiters escaped.
    """

    text: str
    write: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class _Piece:
    """Between two control tokens: ids, or the words around the turns at ``places``."""

    ids: tuple[int, ...] = ()
    words: tuple[str, ...] = ()
    places: tuple[int, ...] = ()


class TurnShape:
    """The prompt of one order of turns."""

    def __init__(self, rendered: Rendered, turns: int, tokenizer: PromptTokenizer) -> None:
        self.rendered, self._tokenizer = rendered, tokenizer
        self.pieces = _split(rendered.text, turns, tokenizer)
        self.around_tokens = len(self.ids([""] * turns))
        for probe in PROBES:
            texts = [rendered.write(probe)] * turns
            joint = rendered.text
            for place in range(turns):
                joint = joint.replace(mark(place), texts[place])
            if self.ids(texts) != tokenizer.trusted(joint).ids:
                raise ModelLoadError(
                    "model.path: the tokenizer returns other tokens for a whole prompt than for its"
                    f" pieces (at {probe!r}); choose a model with a tokenizer.json that splits at"
                    " control tokens"
                )

    @property
    def around_turns(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Token ids of the pieces before the first turn and after the last one."""
        with_turns = [place for place, piece in enumerate(self.pieces) if piece.places]
        before = self.pieces[: with_turns[0]]
        after = self.pieces[with_turns[-1] + 1 :]
        return _joined(before), _joined(after)

    @property
    def answer_begins(self) -> str:
        """What follows the last control token: the answer is read after it."""
        return self.rendered.text[_last_control(self.rendered.text, self._tokenizer) :]

    def ids(self, texts: Sequence[str]) -> tuple[int, ...]:
        """Return the whole prompt with these texts, as they are written."""
        found: list[int] = []
        for piece in self.pieces:
            if piece.places:
                parts = [piece.words[0]]
                for place, word in zip(piece.places, piece.words[1:], strict=True):
                    parts += [texts[place], word]
                found += self._tokenizer.plain("".join(parts)).ids
            else:
                found += piece.ids
        return tuple(found)


def _joined(pieces: Sequence[_Piece]) -> tuple[int, ...]:
    return tuple(token for piece in pieces for token in piece.ids)


def _last_control(text: str, tokenizer: PromptTokenizer) -> int:
    whole = tokenizer.trusted(text)
    pairs = zip(whole.ids, whole.spans, strict=True)
    return max((end for token, (_, end) in pairs if token in tokenizer.controls), default=0)


def _split(text: str, turns: int, tokenizer: PromptTokenizer) -> tuple[_Piece, ...]:
    """Return the pieces of a prompt; a control token is a piece of its own."""
    whole = tokenizer.trusted(text)
    pairs = list(zip(whole.ids, whole.spans, strict=True))
    controls = [(token, span) for token, span in pairs if token in tokenizer.controls]
    pieces: list[_Piece] = []
    start = 0
    for token, (begin, end) in [*controls, (-1, (len(text), len(text)))]:
        between = text[start:begin]
        places = sorted(
            (place for place in range(turns) if mark(place) in between),
            key=lambda place: between.index(mark(place)),
        )
        if places:
            words, rest = [], between
            for place in places:
                before, _, rest = rest.partition(mark(place))
                words.append(before)
            pieces.append(_Piece(words=(*words, rest), places=tuple(places)))
        elif between:
            inside = tuple(t for t, span in pairs if start <= span[0] and span[1] <= begin)
            pieces.append(_Piece(ids=inside))
        if token >= 0:
            pieces.append(_Piece(ids=(token,)))
        start = end
    return tuple(pieces)
