"""Several models for one stream: tasks with a model each, and the stages of a cascade.

Sections of one model are repeated below a task or a stage with the same names and meaning:
``tasks.topic.model.path`` is for the task ``topic`` what ``model.path`` is for a service with one
model. What a process has once stays at the top level: connection, delivery, worker, batching.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from streamlabel.config.cascade import StageSettings, cascade_problem, parts_problem
from streamlabel.config.input_topics import TopicName
from streamlabel.config.languages import language_problem
from streamlabel.config.model import AnyModel
from streamlabel.config.routing import RoutingSettings
from streamlabel.config.section import Section

__all__ = [
    "ConditionSettings",
    "ControlSettings",
    "ShadowSettings",
    "StreamTaskSettings",
    "TaskOutputSettings",
    "task_problem",
]

# Characters of a key that signs deployments.
_LEAST_KEY = 16

Scalar = str | int | float | bool
Values = Scalar | list[Scalar]


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
    language: str | list[str] | None = Field(
        None,
        description="Code of the text's language (ISO 639), such as en, or a list of codes; und for"
        " texts whose language is unknown. The language is detected; outputs say it. Needs the"
        " extra language.",
    )

    @field_validator("language")
    @classmethod
    def _is_known(cls, given: str | list[str] | None) -> str | list[str] | None:
        codes = [given] if isinstance(given, str) else given
        if codes == []:
            raise ValueError("an empty list; name a language, or remove the condition")
        for code in codes or ():
            if problem := language_problem(code):
                raise ValueError(problem)
        return given


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
        if self.model is None and not self.cascade:
            raise ValueError("model: the task has none; give it a model, or a cascade")
        if self.model is not None and self.cascade:
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


def task_problem(tasks: Mapping[str, StreamTaskSettings], topics: Collection[str]) -> str | None:
    """Return what is wrong between tasks; None if nothing is.

    Args:
        tasks: by name.
        topics: that this service reads.
    """
    for name, task in tasks.items():
        if problem := parts_problem(task.cascade, topics):
            return f"tasks.{name}.{problem}"
        for other in task.when.tasks:
            if other not in tasks:
                listed = ", ".join(tasks)
                return f"tasks.{name}.when.tasks: there is no task {other}; the tasks are {listed}"
            if any(each.escalate is not None for each in tasks[other].cascade):
                return (
                    f"tasks.{name}.when.tasks: another service may decide {other}, because its"
                    " cascade has escalate, and no task here can wait for that; remove one of both"
                )
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
