"""Exact probabilities of answers with several tokens, read node by node from a trie.

The probability of an answer is the product of the probabilities of its tokens, each given the
preceding ones. Answers share prefixes, so one read per inner node of their trie is enough; reads
are independent of each other and share the prompt.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streamlabel.errors import ConfigError
from streamlabel.models.label_scoring.answer import (
    Answer,
    FirstToken,
    from_label_scores,
    log_sum_exp,
)
from streamlabel.models.label_scoring.label_tokens import MAX_ANSWER_TOKENS

__all__ = ["LabelTrie", "build_trie"]

Path = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LabelTrie:
    """The answers of a label set as a trie.

    Attributes:
        paths: the inner nodes, shortest first; ``paths[0]`` is the empty one. Each is one read:
            the prompt followed by the path.
        children: for every path, the token ids to read there.
        answers: shape (K, any), the whole token sequences of each label; none is a prefix of
            another.
    """

    paths: tuple[Path, ...]
    children: tuple[tuple[int, ...], ...]
    answers: tuple[tuple[Path, ...], ...]

    def read(self, reads: Sequence[FirstToken]) -> Answer:
        """Return the answer from one read per path, in the order of ``paths``.

        Off-label mass is the probability outside all complete answers; argmax and first token are
        those of the root.

        Raises:
            InferenceError: a number is missing or not finite.
        """
        at = dict(zip(self.paths, reads, strict=True))
        scores = [
            log_sum_exp([_log_probability(at, tokens) for tokens in answers])
            for answers in self.answers
        ]
        root = at[()]
        return from_label_scores(
            scores,
            argmax_is_label=root.top_id in self.children[0],
            top_log_probability=root.top_log_probability,
        )


def build_trie(
    names: Sequence[str], answers: Sequence[Sequence[Path]], *, end_id: int | None
) -> LabelTrie:
    """Return the trie of the answers.

    If an answer is a prefix of another one, ``end_id`` is appended to it: "New" must mean that the
    model stops there, or the probability of "New York" would be counted for it as well.

    Args:
        names: of the labels, for messages.
        answers: shape (K, any), the token sequences of each label's answers.
        end_id: the token that ends the model's turn, if it has one.

    Raises:
        ConfigError: two labels share an answer, an end token is needed and there is none, or a
            node has more children than one read takes.
    """
    ended = [[_ended(tokens, answers, end_id) for tokens in of_label] for of_label in answers]
    owner: dict[Path, str] = {}
    for name, of_label in zip(names, ended, strict=True):
        for tokens in of_label:
            if owner.setdefault(tokens, name) != name:
                raise ConfigError(
                    f"model.task.labels: {name!r} and {owner[tokens]!r} share the answer with the"
                    f" tokens {list(tokens)}; give them different answers"
                )
    children: dict[Path, dict[int, None]] = {}
    for tokens in owner:
        for i, token in enumerate(tokens):
            children.setdefault(tokens[:i], {})[token] = None
    widest = max(map(len, children.values()))
    if widest > MAX_ANSWER_TOKENS:
        raise ConfigError(
            f"model.task.labels: {widest} answers differ at the same token, one read takes"
            f" {MAX_ANSWER_TOKENS}; split the task"
        )
    paths = tuple(sorted(children, key=len))
    return LabelTrie(
        paths=paths,
        children=tuple(tuple(children[path]) for path in paths),
        answers=tuple(tuple(dict.fromkeys(of_label)) for of_label in ended),
    )


def _ended(tokens: Path, answers: Sequence[Sequence[Path]], end_id: int | None) -> Path:
    if not any(
        len(other) > len(tokens) and other[: len(tokens)] == tokens
        for of_label in answers
        for other in of_label
    ):
        return tokens
    if end_id is None:
        raise ConfigError(
            "model.task.labels: one answer is the beginning of another, and the model has no token"
            " that ends its turn; choose answers that differ"
        )
    return (*tokens, end_id)


def _log_probability(at: Mapping[Path, FirstToken], tokens: Path) -> float:
    return math.fsum(at[tokens[:i]].log_probability(token) for i, token in enumerate(tokens))
