"""The stages of a cascade, and which of them run in which service.

A stage with ``escalate`` begins a part of the cascade in a service of its own, whose input is that
topic. All services share one configuration, apart from their input and group.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Annotated

from pydantic import Field, StringConstraints

from streamlabel.config.input_topics import TopicName
from streamlabel.config.model import AnyModel
from streamlabel.config.routing import RoutingSettings
from streamlabel.config.section import Section

__all__ = [
    "ShortName",
    "StageSettings",
    "cascade_problem",
    "escalation_topics",
    "part_here",
    "parts_problem",
    "passed_on",
    "whole",
]

# Part of deployment ids, headers and metric labels.
ShortName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]


class StageSettings(Section):
    """One stage of a cascade: a model, with the routing that decides what it is sure of."""

    name: ShortName = Field(description="Name of the stage in outputs and metrics.")
    model: AnyModel = Field(description="The model of the stage, as in the section model.")
    routing: RoutingSettings = Field(
        default_factory=RoutingSettings,
        description="What the stage is sure of, as in the section routing. The rest goes to the"
        " next stage, and after the last one to review.",
    )
    labels: dict[str, str] = Field(
        default_factory=dict,
        description="The model's own label: the label of the last stage that means the same."
        " Labels with equal names need no entry.",
    )
    price: float = Field(
        1.0,
        gt=0,
        description="What a text costs in this stage, in any unit that the stages share.",
    )
    review_price: float | None = Field(
        None,
        gt=0,
        description="Last stage: what the review of a text costs, in the same unit. `streamlabel"
        " calibrate` chooses the thresholds of the cascade by these prices. No default.",
    )
    escalate: TopicName | None = Field(
        None,
        description="Topic through which records reach this stage, if it runs in a service of its"
        " own: one with the same configuration, and this topic as input.topic.",
    )
    deadline_s: float | None = Field(
        None,
        gt=0,
        description="Maximum wait for the result of this stage; after it the record goes to review"
        " with the reason deadline and the result of the stage before. Default: no limit.",
    )
    max_waiting_items: int | None = Field(
        None,
        ge=1,
        description="Maximum records that wait for this stage; further ones go to review with the"
        " reason stage_full. Default: only batching.max_in_flight_items limits them.",
    )


def cascade_problem(stages: Sequence[StageSettings], *, has_routing: bool) -> str | None:
    """Return what is wrong with the stages of a cascade; None if nothing is, or there are none."""
    if not stages:
        return None
    if len(stages) == 1:
        return "cascade: one stage is a model; write its settings as the section model, or add one"
    if has_routing:
        return "routing: each stage of a cascade has its own; move it to cascade[0].routing"
    repeated = [name for name, count in Counter(each.name for each in stages).items() if count > 1]
    if repeated:
        return f"cascade: two stages are named {repeated[0]}; give each its own name"
    return _misplaced(stages)


def _misplaced(stages: Sequence[StageSettings]) -> str | None:
    """Return which setting is given in a stage where it can do nothing."""
    if stages[0].deadline_s is not None or stages[0].max_waiting_items is not None:
        return (
            "cascade: deadline_s and max_waiting_items limit the wait for a further stage; the"
            " first one has no result before it to fall back on, so remove them there"
        )
    if any(each.review_price is not None for each in stages[:-1]):
        return "cascade: review_price: only the last stage sends to review; set it there"
    return None


def part_here(stages: Sequence[StageSettings], topics: Collection[str]) -> tuple[int, int]:
    """Return the first stage that runs here, and the one after the last.

    Args:
        stages: of the cascade, at least two.
        topics: that this service reads.
    """
    begins = [index for index, each in enumerate(stages) if each.escalate is not None]
    first = next((index for index in begins if stages[index].escalate in topics), 0)
    return first, next((index for index in begins if index > first), len(stages))


def escalation_topics(
    stages: Sequence[StageSettings], topics: Collection[str], *, path: str
) -> Iterator[tuple[str, str]]:
    """Yield setting and topic of each part that is not the one that runs here.

    Args:
        stages: of the cascade.
        topics: that this service reads.
        path: of the setting: ``cascade``, or that of a task.
    """
    for index, each in enumerate(stages):
        if each.escalate is not None and each.escalate not in topics:
            yield f"{path}.{index}.escalate", each.escalate


def parts_problem(stages: Sequence[StageSettings], topics: Collection[str]) -> str | None:
    """Return what is wrong with the parts of a cascade; None if nothing is."""
    if stages and stages[0].escalate is not None:
        return "cascade: escalate: the first stage reads input.topic; remove it there"
    for index, each in enumerate(stages):
        if each.escalate is not None and each.max_waiting_items is not None:
            return (
                f"cascade: max_waiting_items: records wait for {each.name} in its topic, which no"
                f" number limits; remove it from stage {index}, deadline_s limits the wait"
            )
    if len(topics) > 1 and any(each.escalate in topics for each in stages):
        return "cascade: escalate: a service that reads this topic reads no other one"
    return None


def passed_on(stages: Sequence[StageSettings], topics: Collection[str]) -> StageSettings | None:
    """Return the stage that gets what the part here is not sure of; None: it runs here, too.

    Args:
        stages: of the cascade; none for a single model.
        topics: that this service reads.
    """
    _, end = part_here(stages, topics)
    return stages[end] if end < len(stages) else None


def whole(stages: Sequence[StageSettings]) -> list[StageSettings]:
    """Return the stages as they run in one process: for files, and for tests."""
    return [each.model_copy(update={"escalate": None}) for each in stages]
