"""The prompts of a task's policies about one text, and the tokens that they have in common."""

from collections.abc import Sequence
from dataclasses import dataclass

from streamlabel.config.task import TaskSettings
from streamlabel.models.prompts.build_prompt import Keep, RenderTemplate, build_prompt
from streamlabel.models.prompts.prompt_shape import Prompt, common_beginning
from streamlabel.models.prompts.prompt_tokens import PromptTokenizer
from streamlabel.models.tokens.seen import Seen

__all__ = ["PolicyPrompts", "PolicyRows", "build_policy_prompts"]

# Long enough to be more than a policy by chance, if the text comes first.
_PROBE = "Hello, world. " * 8


@dataclass(frozen=True, slots=True)
class PolicyRows:
    """One text in every prompt.

    Attributes:
        rows: shape (K, any), token ids.
        common: number of tokens with which all rows begin; each row has more.
        truncated: the prompts do not contain the whole text.
        seen: how much of the text its tokens represent.
    """

    rows: tuple[tuple[int, ...], ...]
    common: int
    truncated: bool
    seen: Seen


class PolicyPrompts:
    """K prompts that differ in the policy alone.

    Args:
        prompts: in the order of the policies; each has the same room for a text.

    Attributes:
        text_first: the text precedes the policy, so the prompts of one text share it; otherwise the
            prompts of one policy share the policy.
    """

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        self.prompts = tuple(prompts)
        of_policy = min(len(prompt.shared_ids) for prompt in self.prompts)
        self.text_first = len(self.prompts) > 1 and self.encode(_PROBE).common > of_policy

    def encode(self, text: str) -> PolicyRows:
        """Return the prompts for ``text``; all of them truncate a long text alike."""
        encoded = [prompt.encode(text) for prompt in self.prompts]
        rows = tuple(each.ids for each in encoded)
        common = min(len(common_beginning(rows)), min(map(len, rows)) - 1)
        return PolicyRows(rows, common, any(each.truncated for each in encoded), encoded[0].seen)


def build_policy_prompts(
    task: TaskSettings,
    *,
    render: RenderTemplate,
    tokenizer: PromptTokenizer,
    max_tokens: int,
    keep: Keep = "head_tail",
) -> PolicyPrompts:
    """Return the prompts of the task's policies.

    Policies have different lengths. The room for a text is that beside the longest one for all, so
    that a long text is cut at the same place and the prompts still have it in common.

    Args:
        task: with policies.
        render: the chat template, thinking turned off.
        tokenizer: of the model.
        max_tokens: longest prompt.
        keep: which end of a longer text is kept.

    Raises:
        ConfigError, ModelLoadError: as ``build_prompt``.
    """

    def build(limits: Sequence[int]) -> list[Prompt]:
        return [
            build_prompt(
                task,
                answers="one_token",
                render=render,
                tokenizer=tokenizer,
                max_tokens=limit,
                keep=keep,
                policy=policy,
            )
            for policy, limit in zip(task.policies, limits, strict=True)
        ]

    around = [prompt.around_tokens for prompt in build([max_tokens] * len(task.policies))]
    return PolicyPrompts(build([max_tokens - max(around) + each for each in around]))
