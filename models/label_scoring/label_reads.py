"""Compiles a task to the reads of an engine, and turns their results into a prediction."""

from collections.abc import Callable, Sequence
from typing import Protocol

from streamlabel.config.task import TaskSettings
from streamlabel.models.core.classifier import Prediction
from streamlabel.models.label_scoring.answer import Answer, FirstToken
from streamlabel.models.label_scoring.label_tokens import answer_tokens, compile_labels
from streamlabel.models.label_scoring.label_trie import build_trie
from streamlabel.models.prompts.build_prompt import Prompt
from streamlabel.models.prompts.chat_template import Chat

__all__ = ["LabelReads", "compile_reads", "predict", "prompt_version"]

# Long enough for any word, short enough for a metric or a log line.
SHOWN_CHARS = 40


class LabelReads(Protocol):
    """What to read after a prompt: one read for one-token answers, several for a trie."""

    @property
    def paths(self) -> tuple[tuple[int, ...], ...]:
        """Tokens to append to the prompt, one path per read; the first is empty."""
        ...

    @property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """Token ids whose log-probabilities are needed, per path; at most 128 each."""
        ...

    @property
    def answers(self) -> tuple[tuple[tuple[int, ...], ...], ...]:
        """Shape (K, any, any), the token sequences of each label's answers."""
        ...

    def read(self, reads: Sequence[FirstToken]) -> Answer:
        """Return the answer from one FirstToken per path; InferenceError if one is missing."""
        ...


def compile_reads(task: TaskSettings, *, prompt: str, chat: Chat) -> LabelReads:
    """Compile the task's answers for ``task.scoring``.

    Args:
        task: labels and their answers.
        prompt: the rendered chat, generation prompt included.
        chat: tokenizer and end of turn.

    Raises:
        ConfigError: the answers are not distinct; names label, tokens and remedy.
    """

    def encode(text: str) -> tuple[int, ...]:
        return chat.tokens.trusted(text).ids

    if task.scoring == "one_token":
        return compile_labels(task.names, task.forms, prompt=prompt, encode=encode)
    answers = [
        [answer_tokens(form, prompt=prompt, encode=encode) for form in forms]
        for forms in task.forms
    ]
    return build_trie(task.names, answers, end_id=chat.end_id)


def prompt_version(prompt: Prompt, reads: LabelReads) -> str:
    """Return the version of a prompt and its answers: the same for every engine and mode.

    Only what the model gets counts: tokens around the text, and the tokens of each label. So a
    calibration that was fitted on one engine holds on the others.
    """
    return prompt.digest(reads.answers)


def predict(
    reads: LabelReads,
    firsts: Sequence[FirstToken],
    *,
    truncated: bool,
    review_reasons: tuple[str, ...] = (),
    decode: Callable[[tuple[int, ...]], str],
) -> Prediction:
    """Return the prediction for one text.

    Args:
        reads: the compiled reads.
        firsts: one per path, in order.
        truncated: the model did not see all of the text.
        review_reasons: see Prediction.
        decode: token ids -> text, to show the token of an off-label answer.

    Raises:
        InferenceError: a number is missing or not finite.
    """
    answer = reads.read(firsts)
    off_label = None if answer.argmax_is_label else decode((firsts[0].top_id,))[:SHOWN_CHARS]
    return Prediction(
        probabilities=answer.probabilities,
        log_scores=answer.log_scores,
        truncated=truncated,
        review_reasons=review_reasons,
        off_label_mass=answer.off_label_mass,
        argmax_is_label=answer.argmax_is_label,
        first_token_probability=answer.first_token_probability,
        off_label_token=off_label,
    )
