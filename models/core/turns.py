"""Conversations: a text that is several turns, of which the last one is judged.

A conversation is passed on as one string, a JSON array of turns in one way of writing. So equal
conversations are equal texts for everything that compares, stores or repeats texts, and an output
holds what is needed to classify it again.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple

__all__ = ["ROLES", "Turn", "as_turns", "read_turns", "write_turns"]

Role = Literal["user", "assistant"]
ROLES: Final[tuple[Role, ...]] = ("user", "assistant")


class Turn(NamedTuple):
    """One turn.

    Attributes:
        role: who wrote it.
        content: the text; may be blank.
    """

    role: Role
    content: str


def as_turns(messages: Iterable[Any]) -> tuple[Turn, ...]:
    """Return the turns of a list of messages.

    Args:
        messages: objects with ``role`` and ``content``, or strings, which are turns of the user and
            of the assistant by turns.

    Raises:
        ValueError: something else; the message does not quote it.
    """
    turns: list[Turn] = []
    for place, message in enumerate(messages):
        if isinstance(message, str):
            turns.append(Turn(ROLES[place % 2], message))
            continue
        if not isinstance(message, dict):
            raise ValueError(  # noqa: TRY004 an argument of the wrong kind is one of the cases
                f"turn {place + 1} is neither a string nor an object"
            )
        role, content = message.get("role"), message.get("content")
        if role not in ROLES:
            raise ValueError(
                f"turn {place + 1} has no role user or assistant; leave other turns out"
            )
        if not isinstance(content, str):
            raise ValueError(  # noqa: TRY004 see above
                f"turn {place + 1} has no content that is a string"
            )
        turns.append(Turn(role, content))
    if not turns:
        raise ValueError("there are no turns")
    return tuple(turns)


def write_turns(turns: Sequence[Turn]) -> str:
    """Return the turns as one string; equal turns, equal strings."""
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    return json.dumps(messages, ensure_ascii=False, separators=(",", ":"))


def read_turns(text: str) -> tuple[Turn, ...]:
    """Return the turns that a string stands for; a string of another form is one turn of the user.

    Raises:
        ValueError: an array of objects that are no turns.
    """
    if not text.startswith("["):
        return (Turn("user", text),)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return (Turn("user", text),)
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        return (Turn("user", text),)
    return as_turns(found)
