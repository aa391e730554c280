"""Answers that are read after the model has reasoned: where they begin, and their mean. Pure.

The probability of a label is the one given the reasoning that the model wrote, so it says how sure
the model is after it has made up its mind, which is nearly always more than before. The mean over
several reasonings is closer to the probability over all of them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from streamlabel.config.task import TaskSettings
from streamlabel.errors import ConfigError
from streamlabel.models.core.classifier import Prediction
from streamlabel.models.label_scoring.answer import (
    Answer,
    FirstToken,
    from_label_scores,
    log_sum_exp,
)
from streamlabel.models.label_scoring.label_reads import SHOWN_CHARS, LabelReads, compile_reads
from streamlabel.models.prompts.build_prompt import Prompt
from streamlabel.models.prompts.chat_template import Chat

__all__ = ["Reasoned", "Thought", "compile_reasoned", "mean_answer", "predict_reasoned", "thought"]


@dataclass(frozen=True, slots=True)
class Reasoned:
    """What comes after the reasoning.

    Attributes:
        tail: tokens of the end of the reasoning and the beginning of the answer.
        reads: what to read after them.
        limit: maximum tokens of reasoning.
        heats: temperature of each sample.
        cut_reasons: why a record whose reasoning was cut goes to review; empty: it does not.
    """

    tail: tuple[int, ...]
    reads: LabelReads
    limit: int
    heats: tuple[float, ...]
    cut_reasons: tuple[str, ...]

    @property
    def stop(self) -> int:
        """The token at which the reasoning is over."""
        return self.tail[0]

    @property
    def extra_tokens(self) -> int:
        """Maximum number of tokens after the prompt, without the answer's last one."""
        return self.limit + len(self.tail) + max(map(len, self.reads.paths))

    def version(self, prompt: Prompt) -> str:
        """Return the version of the prompt: of all that decides what is computed."""
        return prompt.digest(self.reads.answers, self.tail, self.limit, self.heats)

    def rows(self, prompt: Sequence[int], found: "Thought") -> list[list[int]]:
        """Return the rows of the reads after one reasoning."""
        return [[*prompt, *found.tokens, *self.tail, *path] for path in self.reads.paths]


@dataclass(frozen=True, slots=True)
class Thought:
    """One reasoning.

    Attributes:
        tokens: of it, without its end.
        is_cut: it did not end by itself: the budget was used up, or the turn ended within it.
    """

    tokens: tuple[int, ...]
    is_cut: bool


def thought(written: Sequence[int], *, stop: int, ends: Sequence[int]) -> Thought:
    """Return what a model wrote until it stopped.

    Args:
        written: the tokens, the one that stopped it included.
        stop: ends the reasoning.
        ends: tokens that end the model's turn; there is no answer then, and it is read all the
            same, as if the reasoning had been cut.
    """
    if written and written[-1] == stop:
        return Thought(tuple(written[:-1]), is_cut=False)
    if written and written[-1] in ends:
        return Thought(tuple(written[:-1]), is_cut=True)
    return Thought(tuple(written), is_cut=True)


def compile_reasoned(task: TaskSettings, prompt: Prompt, chat: Chat) -> Reasoned:
    """Compile the task's answers for reads after reasoning.

    Raises:
        ConfigError: the reasoning's end does not begin with a control token, or merges with what
            precedes it; or the answers are not distinct.
    """
    reasoning = task.reasoning
    if reasoning is None:
        raise ConfigError("model.task.reasoning: the task has none. This is a bug.")
    ending = reasoning.end + task.answer_prefix
    tail = chat.tokens.trusted(ending).ids
    if not tail or tail[0] not in chat.tokens.controls:
        shown = ", ".join(sorted(set(chat.tokens.controls.values()))[:8])
        raise ConfigError(
            f"model.task.reasoning.end: {reasoning.end[:20]!r} does not begin with a control token"
            f" of this model, so the end of a reasoning could not be told from its text; begin it"
            f" with one (the model has {shown})"
        )
    whole = prompt.rendered + ending
    if chat.tokens.trusted(whole).ids[-len(tail) :] != tail:
        raise ConfigError(
            "model.task.reasoning.end: it has other tokens after a prompt than alone; end it with"
            " another character"
        )
    return Reasoned(
        tail,
        compile_reads(task, prompt=whole, chat=chat),
        reasoning.max_tokens,
        (reasoning.heat,) * reasoning.samples,
        ("reasoning_cut",) if reasoning.when_cut == "review" else (),
    )


def mean_answer(answers: Sequence[Answer]) -> Answer:
    """Return the mean of the labels' probabilities over several reasonings, off-label mass too.

    Args:
        answers: one per reasoning, of the same labels.
    """
    count = math.log(len(answers))
    columns = zip(*(answer.log_scores for answer in answers), strict=True)
    tops = [math.log(max(answer.first_token_probability, 1e-300)) for answer in answers]
    return from_label_scores(
        [log_sum_exp(column) - count for column in columns],
        argmax_is_label=2 * sum(answer.argmax_is_label for answer in answers) > len(answers),
        top_log_probability=log_sum_exp(tops) - count,
    )


def predict_reasoned(
    reasoned: Reasoned,
    thoughts: Sequence[Thought],
    firsts: Sequence[Sequence[FirstToken]],
    *,
    truncated: bool,
    review_reasons: tuple[str, ...] = (),
    decode: Callable[[tuple[int, ...]], str],
) -> Prediction:
    """Return the prediction for one text.

    Args:
        reasoned: what was read.
        thoughts: one per sample.
        firsts: for each, one per path.
        truncated: the model did not see all of the text.
        review_reasons: see Prediction.
        decode: token ids -> text, to show the token of an off-label answer.

    Raises:
        InferenceError: a number is missing or not finite.
    """
    answers = [reasoned.reads.read(each) for each in firsts]
    answer = mean_answer(answers)
    odd = [
        first[0].top_id for first, a in zip(firsts, answers, strict=True) if not a.argmax_is_label
    ]
    is_cut = any(each.is_cut for each in thoughts)
    return Prediction(
        probabilities=answer.probabilities,
        log_scores=answer.log_scores,
        truncated=truncated,
        review_reasons=(*review_reasons, *(reasoned.cut_reasons if is_cut else ())),
        off_label_mass=answer.off_label_mass,
        argmax_is_label=answer.argmax_is_label,
        first_token_probability=answer.first_token_probability,
        off_label_token=None if answer.argmax_is_label else decode((odd[0],))[:SHOWN_CHARS],
        after_reasoning=True,
        reasoning_tokens=max(len(each.tokens) for each in thoughts),
        reasoning_cut=is_cut,
    )
