"""Reads the log-probabilities of appended answers from an endpoint, token by token."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from streamlabel.models.core.concurrent_requests import together
from streamlabel.models.label_scoring.answer import FirstToken
from streamlabel.models.label_scoring.label_trie import LabelTrie
from streamlabel.models.remote.client import RemoteClient
from streamlabel.models.remote.failures import UnreadableError

__all__ = ["ReadAnswers", "read_positions"]

_LEAST: Final = -9000.0  # below, a server means minus infinity


@dataclass(frozen=True, slots=True)
class ReadAnswers:
    """What an endpoint says about the answers after a prompt.

    Attributes:
        firsts: one per path of the trie.
        shown: token -> its text.
    """

    firsts: list[FirstToken]
    shown: dict[int, str]


async def read_positions(
    client: RemoteClient, prompt: tuple[int, ...], trie: LabelTrie
) -> ReadAnswers:
    """Return the distribution at each path of the trie; one request for each answer."""
    paths = [tokens for of_label in trie.answers for tokens in of_label]
    requests = [_positions(client, prompt, tokens) for tokens in paths]
    shown: dict[int, str] = {}
    numbers: dict[tuple[int, ...], dict[int, float]] = {}
    tops: dict[tuple[int, ...], tuple[int, float]] = {}
    for position in [each for found in await together(requests) for each in found]:
        numbers.setdefault(position.path, {})[position.token] = position.log_probability
        tops[position.path] = position.top
        shown |= position.shown
    return ReadAnswers([FirstToken(numbers[path], *tops[path]) for path in trie.paths], shown)


@dataclass(frozen=True, slots=True)
class _Position:
    """What an endpoint says about one token of an answer, after the tokens before it."""

    path: tuple[int, ...]
    token: int
    log_probability: float
    top: tuple[int, float]
    shown: Mapping[int, str]


async def _positions(
    client: RemoteClient, prompt: tuple[int, ...], answer: tuple[int, ...]
) -> list[_Position]:
    body = {
        "prompt": [*prompt, *answer],
        "max_tokens": 1,
        "temperature": 0,
        "prompt_logprobs": 1,  # of the token itself, and of the most probable one
    }
    reply = await client.post("/v1/completions", body)
    try:
        rows = reply["choices"][0]["prompt_logprobs"][len(prompt) :]
        found = [
            {int(token): (float(entry["logprob"]), entry) for token, entry in row.items()}
            for row in rows
        ]
    except (TypeError, LookupError, AttributeError, ValueError) as error:
        raise UnreadableError("no log-probabilities of the prompt") from error
    if len(found) != len(answer) or any(
        token not in row for token, row in zip(answer, found, strict=True)
    ):
        raise UnreadableError("log-probabilities of other tokens than those of the prompt")
    positions = []
    for place, (token, row) in enumerate(zip(answer, found, strict=True)):
        top = max(row, key=lambda each: row[each][0])
        value = row[token][0]
        positions.append(
            _Position(
                answer[:place],
                token,
                value if value > _LEAST else -math.inf,
                (top, row[top][0]),
                {each: str(entry.get("decoded_token") or "") for each, (_, entry) in row.items()},
            )
        )
    return positions
