"""Compiles the answers of a task to token ids, and proves that they can be told apart."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from streamlabel.errors import ConfigError
from streamlabel.models import answer
from streamlabel.models.answer import Answer, FirstToken

__all__ = ["MAX_ANSWER_TOKENS", "LabelTokens", "answer_tokens", "compile_labels"]

# What vLLM reads exactly for one request (logprob_token_ids).
MAX_ANSWER_TOKENS = 128

Encode = Callable[[str], Sequence[int]]


@dataclass(frozen=True, slots=True)
class LabelTokens:
    """Which first token means which label.

    Attributes:
        forms: shape (K, any), the token ids of each label's answers; no id is there twice.
        ids: all of them, in order of label; what an engine is asked for.
    """

    forms: tuple[tuple[int, ...], ...]

    @property
    def ids(self) -> tuple[int, ...]:
        """All token ids of all labels."""
        return tuple(token for form in self.forms for token in form)

    @property
    def paths(self) -> tuple[tuple[int, ...], ...]:
        """One read, right behind the prompt; see ``LabelReads``."""
        return ((),)

    @property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """What that read asks for."""
        return (self.ids,)

    def read(self, reads: Sequence[FirstToken]) -> Answer:
        """Return the answer out of that one read.

        Raises:
            InferenceError: a number is missing or not finite.
        """
        (first,) = reads
        return answer.read(first, self.forms)


def answer_tokens(form: str, *, prompt: str, encode: Encode) -> tuple[int, ...]:
    """Return the tokens of the answer ``form`` in its place behind the prompt.

    Never those of the answer alone: behind a prompt that ends in a space or a letter, the same
    answer has other tokens, and its probability would be read from a token that never comes.

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
