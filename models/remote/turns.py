"""Conversations for an endpoint: each turn is cut, and the oldest ones are left out."""

from dataclasses import replace

from streamlabel.config.engines import RemoteSettings
from streamlabel.errors import InferenceError
from streamlabel.models.core.turns import read_turns, write_turns
from streamlabel.models.remote.cutting import Cutter, CutText

__all__ = ["cut_turns"]


def cut_turns(text: str, cutter: Cutter, settings: RemoteSettings) -> CutText | InferenceError:
    """Return a conversation that fits the limits of a text; an error if it is none.

    Args:
        text: see ``models.core.turns``.
        cutter: of single texts.
        settings: with the limits.
    """
    try:
        turns = read_turns(text)
    except ValueError as error:
        return InferenceError(f"the conversation cannot be asked about: {error}")
    pieces = [cutter.cut(turn.content) for turn in turns]
    kept = len(turns)
    while kept > 1 and not _fit(pieces[-kept:], settings):
        kept -= 1
    shown = [
        turn._replace(content=piece.text)
        for turn, piece in zip(turns[-kept:], pieces[-kept:], strict=True)
    ]
    truncated = kept < len(turns) or any(piece.truncated for piece in pieces[-kept:])
    tokens = sum(piece.tokens for piece in pieces[-kept:])
    return replace(pieces[-1], text=write_turns(shown), truncated=truncated, tokens=tokens)


def _fit(pieces: list[CutText], settings: RemoteSettings) -> bool:
    if sum(len(piece.text) for piece in pieces) > settings.max_text_chars:
        return False
    most = settings.max_text_tokens
    return most is None or sum(piece.tokens for piece in pieces) <= most
