"""Several models for one stream: tasks with a model each, and the stages of a cascade.

Sections of one model are repeated below a task or a stage with the same names and meaning:
``tasks.topic.model.path`` is for the task ``topic`` what ``model.path`` is for a service with one
model. What a process has once stays at the top level: connection, delivery, worker, batching.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, StringConstraints, model_validator

from streamlabel.config.input_topics import TopicName
from streamlabel.config.model import AnyModel
from streamlabel.config.routing import RoutingSettings
from streamlabel.config.section import Section

__all__ = [
    "ConditionSettings",
    "ControlSettings",
    "ShadowSettings",
    "ShortName",
    "StageSettings",
    "StreamTaskSettings",
    "TaskOutputSettings",
    "cascade_problem",
    "task_problem",
]

# Part of deployment ids, headers and metric labels.
ShortName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
# Characters of a key that signs deployments.
_LEAST_KEY = 16

Scalar = str | int | float | bool
Values = Scalar | list[Scalar]


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


class ConditionSettings(Section):
    """When a task applies to a record. All that is given must hold; of a list, one value."""

    metadata: dict[str, Values] = Field(
        default_factory=dict,
        description="Dotted path in the record's metadata: the value, or a list of values.",
    )
    headers: dict[str, str | list[str]] = Field(
        default_factory=dict,
        description="Name of a header, in any case: its value as UTF-8, or a list of values.",
    )
    tasks: dict[str, str | list[str]] = Field(
        default_factory=dict,
        description="Name of another task: its label, or a list of labels, one of which it has to"
        " give. The record is classified by that task first.",
    )


class TaskOutputSettings(Section):
    """Output topics of a task; those of the section output if they are not set."""

    labels_topic: TopicName | None = Field(
        None, description="Topic for the labels of this task. Default: output.labels_topic."
    )
    review_topic: TopicName | None = Field(
        None, description="Topic for the reviews of this task. Default: output.review_topic."
    )
    probabilities: Literal["all"] | Annotated[int, Field(ge=1)] | None = Field(
        None, description="As output.probabilities, for this task. Default: that setting."
    )


class ShadowSettings(Section):
    """A second model that gets a share of the same texts, to compare it with the present one."""

    model: AnyModel = Field(description="The model, as in the section model.")
    routing: RoutingSettings = Field(
        default_factory=RoutingSettings,
        description="What it would accept, as in the section routing; its outputs say so.",
    )
    share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Fraction of the records that it gets, drawn by their key, or their id.",
    )
    topic: TopicName = Field("shadow", description="Topic for its outputs, which have no text.")
    max_waiting_items: int = Field(
        1000,
        ge=1,
        description="Maximum texts that wait for it. Further ones are dropped and counted, so that"
        " it never delays the present model.",
    )


class StreamTaskSettings(Section):
    """One task: a question about each text, with a model or a cascade of its own."""

    model: AnyModel | None = Field(
        None, description="The model of the task, as in the section model."
    )
    cascade: list[StageSettings] = Field(
        default_factory=list, description="Instead of a model: stages, as in the section cascade."
    )
    routing: RoutingSettings = Field(
        default_factory=RoutingSettings, description="Of the task's model, as in section routing."
    )
    when: ConditionSettings = Field(
        default_factory=ConditionSettings,
        description="To which records the task applies. Default: to all.",
    )
    output: TaskOutputSettings = Field(
        default_factory=TaskOutputSettings, description="Output topics of the task."
    )

    @model_validator(mode="after")
    def _has_one_form(self) -> Self:
        if (self.model is None) == (not self.cascade):
            raise ValueError("model: give the task either a model or a cascade, not both")
        if problem := cascade_problem(self.cascade, has_routing=_is_given(self, "routing")):
            raise ValueError(problem)
        return self


class ControlSettings(Section):
    """Deployments for all members of the group: see docs/several-models.md."""

    topic: TopicName | None = Field(
        None,
        description="Compacted topic with one partition on which `streamlabel deploy` announces"
        " deployments, and members say how they went. Default: members follow no deployments.",
    )
    key: SecretStr | None = Field(
        None,
        description="Secret of at least 16 characters that `streamlabel deploy` and all members"
        " share: members use only deployments that were signed with it.",
    )

    @model_validator(mode="after")
    def _is_signed(self) -> Self:
        if self.topic is not None and self.key is None:
            raise ValueError("key: required with topic, so that nobody else can change the models")
        if self.key is not None and len(self.key.get_secret_value()) < _LEAST_KEY:
            raise ValueError(f"key: at least {_LEAST_KEY} characters")
        return self


def _is_given(section: Section, name: str) -> bool:
    return name in section.model_fields_set


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


def task_problem(tasks: Mapping[str, StreamTaskSettings]) -> str | None:
    """Return what is wrong between tasks; None if nothing is."""
    for name, task in tasks.items():
        for other in task.when.tasks:
            if other not in tasks:
                listed = ", ".join(tasks)
                return f"tasks.{name}.when.tasks: there is no task {other}; the tasks are {listed}"
    circle = _circle(tasks)
    if circle:
        way = " needs ".join(circle)
        return f"tasks: the conditions form a circle: {way}; remove one of these conditions"
    return None


def _circle(tasks: Mapping[str, StreamTaskSettings]) -> list[str]:
    """Return a circle of conditions, its first task repeated at the end; empty if there is none."""
    free: set[str] = set()

    def walk(name: str, way: list[str]) -> Iterator[list[str]]:
        if name in way:
            yield [*way[way.index(name) :], name]
        elif name not in free:
            for other in tasks[name].when.tasks:
                yield from walk(other, [*way, name])
            free.add(name)

    return next((found for name in tasks for found in walk(name, [])), [])
