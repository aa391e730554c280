"""Compiles the answers of a task to token ids, and checks that they are distinct."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from streamlabel.errors import ConfigError
from streamlabel.models.label_scoring import answer
from streamlabel.models.label_scoring.answer import Answer, FirstToken

__all__ = ["MAX_ANSWER_TOKENS", "LabelTokens", "answer_tokens", "compile_labels"]

# Maximum number of token ids whose exact log-probabilities vLLM returns for one request
# (logprob_token_ids).
MAX_ANSWER_TOKENS = 128

Encode = Callable[[str], Sequence[int]]


@dataclass(frozen=True, slots=True)
class LabelTokens:
    """The label of each first token.

    Attributes:
        forms: shape (K, any), the token ids of each label's answers; all ids are distinct.
        ids: all of them, in order of label; the engine is asked for these.
    """

    forms: tuple[tuple[int, ...], ...]

    @property
    def ids(self) -> tuple[int, ...]:
        """All token ids of all labels."""
        return tuple(token for form in self.forms for token in form)

    @property
    def answers(self) -> tuple[tuple[tuple[int, ...], ...], ...]:
        """Shape (K, any, 1), the token sequences of each label's answers."""
        return tuple(tuple((token,) for token in form) for form in self.forms)

    @property
    def paths(self) -> tuple[tuple[int, ...], ...]:
        """One read, directly after the prompt; see ``LabelReads``."""
        return ((),)

    @property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """The token ids of that read."""
        return (self.ids,)

    def read(self, reads: Sequence[FirstToken]) -> Answer:
        """Return the answer from that read.

        Raises:
            InferenceError: a number is missing or not finite.
        """
        (first,) = reads
        return answer.read(first, self.forms)


def answer_tokens(form: str, *, prompt: str, encode: Encode) -> tuple[int, ...]:
    """Return the tokens of the answer ``form`` when it follows the prompt.

    Not the tokens of the answer alone: after a prompt that ends in a space or a letter, the same
    answer can have other tokens, and the probability would be read from a token that the model
    never generates.

    Raises:
        ConfigError: the answer merges with the end of the prompt.
    """
    before, whole = tuple(encode(prompt)), tuple(encode(prompt + form))
    if whole[: len(before)] != before or len(whole) == len(before):
        raise ConfigError(
            f"model.task.labels: the answer {form!r} merges with the end of the prompt"
            f" ({prompt[-12:]!r}) into other tokens; begin it with another character, or change"
            " model.task.answer_prefix"
        )
    return whole[len(before) :]


def compile_labels(
    names: Sequence[str], forms: Sequence[Sequence[str]], *, prompt: str, encode: Encode
) -> LabelTokens:
    """Return the token ids of every label's answers, each answer one token.

    Args:
        names: of the labels, for messages.
        forms: shape (K, any), the answers.
        prompt: the rendered chat, generation prompt included.
        encode: text -> token ids, control tokens understood.

    Raises:
        ConfigError: an answer has several tokens, two labels share one, or there are too many.
    """
    owner: dict[int, str] = {}
    compiled: list[tuple[int, ...]] = []
    for name, answers in zip(names, forms, strict=True):
        ids: dict[int, None] = {}
        for form in answers:
            tokens = answer_tokens(form, prompt=prompt, encode=encode)
            if len(tokens) != 1:
                raise ConfigError(_several(name, form, tokens))
            ids[tokens[0]] = None
            other = owner.setdefault(tokens[0], name)
            if other != name:
                raise ConfigError(
                    f"model.task.labels: {name!r} and {other!r} share the token {tokens[0]}"
                    f" (answer {form!r}); give them different answers, or set"
                    " model.task.answer_with: letters"
                )
        compiled.append(tuple(ids))
    if len(owner) > MAX_ANSWER_TOKENS:
        raise ConfigError(
            f"model.task.labels: {len(owner)} answers, one read takes {MAX_ANSWER_TOKENS}; list"
            " fewer forms for each label, or split the task"
        )
    return LabelTokens(tuple(compiled))


def _several(name: str, form: str, tokens: Sequence[int]) -> str:
    hint = " (it begins with a space: try without)" if form[:1].isspace() else ""
    return (
        f"model.task.labels: {name!r} is answered with {form!r}, which is {len(tokens)} tokens"
        f" {list(tokens)} for this model{hint}; set model.task.answer_with: letters (A, B, C...),"
        " list answers that are one token, or set model.task.scoring: trie"
    )
