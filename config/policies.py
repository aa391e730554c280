"""Policies: several questions about one text, each answered on its own."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, StringConstraints

from streamlabel.config.section import Section

__all__ = ["PolicySettings", "refuse_policies", "refuse_unasked_policies"]

PolicyName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
PolicyText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class PolicySettings(Section):
    """One question about the text."""

    name: PolicyName = Field(description="Name of the label in every output.")
    text: PolicyText = Field(description="The policy or the question, as the model reads it.")


def refuse_policies(
    policies: Sequence[PolicySettings], *, answers: int, idle: Sequence[str], letters: bool
) -> None:
    """Refuse policies that cannot be asked, and settings that have no effect beside them.

    Args:
        policies: of the task, at least one.
        answers: number of the task's labels, which are the answers to each question.
        idle: names of settings that are given and are not part of the prompt of a policy.
        letters: the model would answer with letters.

    Raises:
        ValueError: it is one of these; the message begins with the setting.
    """
    counted = Counter(policy.name for policy in policies)
    repeated = [name for name, count in counted.items() if count > 1]
    if repeated:
        raise ValueError(f"policies: {repeated[0]!r} is listed twice; names must be unique")
    if answers != 2:
        raise ValueError(
            f"labels: with policies, the labels are the two answers to each of them, and the second"
            f" one means that the policy applies; there are {answers}; for example"
            ' labels: [{name: "no", answers: ["No"]}, {name: "yes", answers: ["Yes"]}]'
        )
    if idle:
        raise ValueError(
            f"{idle[0]}: the prompt of a policy does not contain it; write it into policies, or"
            " remove it"
        )
    if letters:
        raise ValueError(
            "answer_with: the prompt of a policy does not say what a letter stands for; set forms,"
            " and answers such as No and Yes"
        )


def refuse_unasked_policies(
    policies: Sequence[PolicySettings], where: str, section: str = ""
) -> None:
    """Refuse policies for a back end or a mode that asks one question a text.

    Args:
        policies: of the task.
        where: the back end or mode, for the message.
        section: in which the policies are, as the validator that calls this sees it.

    Raises:
        ValueError: there are policies; the message begins with the setting.
    """
    if policies:
        raise ValueError(
            f"{section}policies: {where} asks one question a text; use backend generative,"
            " or vllm in mode one_token"
        )
