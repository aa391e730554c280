"""Turns the answers to several policies into one prediction with a probability for each."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from streamlabel.config.task import TaskSettings
from streamlabel.models.core.classifier import Prediction
from streamlabel.models.core.labels import LabelSet
from streamlabel.models.label_scoring.answer import FirstToken
from streamlabel.models.label_scoring.label_reads import (
    SHOWN_CHARS,
    LabelReads,
    compile_reads,
    prompt_version,
)
from streamlabel.models.prompts.build_prompt import Keep
from streamlabel.models.prompts.chat_template import Chat
from streamlabel.models.prompts.policy_prompts import PolicyPrompts, build_policy_prompts

__all__ = ["AskedPolicies", "compile_policies", "labels_of"]


def labels_of(task: TaskSettings) -> LabelSet:
    """Return the labels of a task's outputs: its own, or one for each policy."""
    if task.policies:
        return LabelSet(tuple(policy.name for policy in task.policies), "multi_label")
    return LabelSet(task.names)


@dataclass(frozen=True, slots=True)
class AskedPolicies:
    """Prompts and reads of K policies.

    Attributes:
        prompts: one for each policy.
        reads: shape (K,), of the two answers after each prompt.
        version: of all prompts and answers together, as ``prompt_version``.
    """

    prompts: PolicyPrompts
    reads: tuple[LabelReads, ...]
    version: str

    @property
    def wanted(self) -> tuple[int, ...]:
        """All token ids that any read needs."""
        return tuple(
            dict.fromkeys(token for reads in self.reads for ids in reads.children for token in ids)
        )

    @property
    def longest_path(self) -> int:
        """Maximum number of tokens that a read appends to a prompt."""
        return max(len(path) for reads in self.reads for path in reads.paths)

    @property
    def paths(self) -> tuple[tuple[int, tuple[int, ...], tuple[int, ...]], ...]:
        """All reads in order: place of the policy, tokens to append, token ids to read."""
        return tuple(
            (place, path, children)
            for place, reads in enumerate(self.reads)
            for path, children in zip(reads.paths, reads.children, strict=True)
        )

    def predict(
        self,
        firsts: Sequence[FirstToken],
        *,
        truncated: bool,
        review_reasons: tuple[str, ...],
        decode: Callable[[tuple[int, ...]], str],
    ) -> Prediction:
        """Return the prediction for one text.

        The probability of a policy is that of its second answer, of the two. What says how far the
        model answered at all is that of the policy where it answered least.

        Args:
            firsts: one for each of ``paths``.
            truncated: the model did not see all of the text.
            review_reasons: see Prediction.
            decode: token ids -> text, to show the token of an off-label answer.

        Raises:
            InferenceError: a number is missing or not finite.
        """
        left = iter(firsts)
        heads, answers = [], []
        for reads in self.reads:
            own = [next(left) for _ in reads.paths]
            heads.append(own[0])
            answers.append(reads.read(own))
        least = max(range(len(answers)), key=lambda place: answers[place].off_label_mass)
        strayed = [place for place, each in enumerate(answers) if not each.argmax_is_label]
        shown = decode((heads[strayed[0]].top_id,))[:SHOWN_CHARS] if strayed else None
        return Prediction(
            tuple(answer.probabilities[1] for answer in answers),
            tuple(answer.log_scores[1] - answer.log_scores[0] for answer in answers),
            truncated=truncated,
            review_reasons=review_reasons,
            off_label_mass=answers[least].off_label_mass,
            argmax_is_label=not strayed,
            first_token_probability=answers[least].first_token_probability,
            off_label_token=shown,
        )


def compile_policies(
    task: TaskSettings, chat: Chat, *, max_tokens: int, keep: Keep
) -> AskedPolicies:
    """Return prompts and reads of the task's policies, within ``max_tokens`` with their answers.

    Raises:
        ConfigError, ModelLoadError: as ``build_prompt`` and ``compile_reads``.
    """

    def compiled(limit: int) -> AskedPolicies:
        prompts = build_policy_prompts(
            task, render=chat.render, tokenizer=chat.tokens, max_tokens=limit, keep=keep
        )
        reads = tuple(
            compile_reads(task, prompt=prompt.rendered, chat=chat) for prompt in prompts.prompts
        )
        versions = map(prompt_version, prompts.prompts, reads)
        digest = hashlib.sha256("\0".join(versions).encode()).hexdigest()[:12]
        return AskedPolicies(prompts, reads, digest)

    asked = compiled(max_tokens)
    behind = asked.longest_path
    return compiled(max_tokens - behind) if behind else asked
