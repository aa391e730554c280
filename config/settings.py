"""Every setting of the service, with its default, unit and reason."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from streamlabel.config.audit import AuditSettings, audit_problem
from streamlabel.config.batching import BatchingSettings, RepeatSettings
from streamlabel.config.cascade import (
    ShortName,
    StageSettings,
    cascade_problem,
    escalation_topics,
    part_here,
    parts_problem,
    passed_on,
)
from streamlabel.config.console import ConsoleSettings
from streamlabel.config.conversations import conversations_problem
from streamlabel.config.delivery import DeliverySettings, GuardSettings
from streamlabel.config.kafka import InputSettings, KafkaSettings, OutputSettings
from streamlabel.config.model import AnyModel
from streamlabel.config.observing import HttpSettings, LoggingSettings, TracingSettings
from streamlabel.config.routing import DriftSettings, RoutingSettings
from streamlabel.config.section import Section
from streamlabel.config.several import (
    ControlSettings,
    ShadowSettings,
    StreamTaskSettings,
    task_problem,
)
from streamlabel.config.waits import contradictions
from streamlabel.config.worker import WorkerSettings

__all__ = [
    "AuditSettings",
    "BatchingSettings",
    "DeliverySettings",
    "DriftSettings",
    "GuardSettings",
    "HttpSettings",
    "LoggingSettings",
    "RepeatSettings",
    "RoutingSettings",
    "Settings",
    "TracingSettings",
]


class Settings(Section):
    """The whole configuration."""

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    input: InputSettings = Field(default_factory=InputSettings)
    output: OutputSettings = Field(default_factory=OutputSettings)
    model: AnyModel = Field(  # type: ignore[assignment]  # None only beside tasks or a cascade
        None, description="The model and its back end; has no default."
    )
    cascade: list[StageSettings] = Field(
        default_factory=list,
        description="Instead of a model: stages, cheapest first. What a stage is not sure of goes"
        " to the next one, and after the last one to review.",
    )
    tasks: dict[ShortName, StreamTaskSettings] = Field(
        default_factory=dict,
        description="Instead of a model: several tasks by name, each with a model or cascade,"
        " routing and outputs of its own.",
    )
    shadow: ShadowSettings | None = Field(
        None, description="A second model that gets a share of the texts. Default: none."
    )
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    batching: BatchingSettings = Field(default_factory=BatchingSettings)
    repeats: RepeatSettings = Field(default_factory=RepeatSettings)
    routing: RoutingSettings = Field(default_factory=RoutingSettings)
    audit: AuditSettings = Field(default_factory=AuditSettings)
    drift: DriftSettings = Field(default_factory=DriftSettings)
    control: ControlSettings = Field(default_factory=ControlSettings)
    delivery: DeliverySettings = Field(default_factory=DeliverySettings)
    guard: GuardSettings = Field(default_factory=GuardSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    console: ConsoleSettings = Field(default_factory=ConsoleSettings)
    logging: LoggingSettings = Field(default_factory=LoggingSettings)
    tracing: TracingSettings = Field(default_factory=TracingSettings)

    @model_validator(mode="after")
    def _has_one_form(self) -> Self:
        forms = [name for name in ("model", "cascade", "tasks") if getattr(self, name)]
        if len(forms) > 1:
            raise ValueError(
                f"{forms[0]}, {forms[1]}: either one model, or a cascade, or tasks; remove one"
            )
        if not forms:
            raise PydanticCustomError("no_model", "no model")
        has_routing = "routing" in self.model_fields_set
        if self.tasks and has_routing:
            raise ValueError("routing: each task has its own; move it to tasks.NAME.routing")
        problem = (
            cascade_problem(self.cascade, has_routing=has_routing)
            or parts_problem(self.cascade, self.input.weights)
            or task_problem(self.tasks, self.input.weights)
            or self.input.task_problem(self.tasks)
        )
        if problem:
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _audits_cannot_be_foreseen(self) -> Self:
        """Refuse an audit of which records with ids of their own could know."""
        sections = {} if self.cascade or self.tasks else {"routing": self.routing}
        problem = audit_problem(self.audit, self.input, sections, self.cascade, self.tasks)
        if problem:
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _models_take_what_is_read(self) -> Self:
        problem = conversations_problem(self)
        if problem:
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _topics_differ(self) -> Self:
        """Refuse a topic with two purposes. Tasks may share the topics of their labels."""
        seen: dict[str, tuple[str, str]] = {}
        for field, topic in self._topics():
            purpose = field.rpartition(".")[2]
            before, first = seen.setdefault(topic, (purpose, field))
            may_share = field.startswith("tasks.") and purpose != "escalate"
            if before != purpose or (first != field and not may_share):
                raise ValueError(
                    f"{field}: {topic!r} is also {first}; every topic needs a different name"
                )
        return self

    def _topics(self) -> Iterator[tuple[str, str]]:
        field = "input.topics" if self.input.topics else "input.topic"
        yield from ((field, topic) for topic in self.input.weights)
        for purpose in ("labels_topic", "review_topic", "dead_letter_topic", "verdicts_topic"):
            yield f"output.{purpose}", getattr(self.output, purpose)
        if self.console.appeals_topic is not None:
            yield "console.appeals_topic", self.console.appeals_topic
        yield from escalation_topics(self.cascade, self.input.weights, path="cascade")
        if self.shadow is not None:
            yield "shadow.topic", self.shadow.topic
        for name, task in self.tasks.items():
            for purpose in ("labels_topic", "review_topic"):
                topic = getattr(task.output, purpose)
                if topic is not None:
                    yield f"tasks.{name}.output.{purpose}", topic
            yield from escalation_topics(
                task.cascade, self.input.weights, path=f"tasks.{name}.cascade"
            )

    @property
    def own_topics(self) -> frozenset[str]:
        """All topics that this service writes to, or reads for itself: no pattern matches them."""
        control = [] if self.control.topic is None else [self.control.topic]
        inputs = self.input.weights
        return frozenset([*(name for _, name in self._topics() if name not in inputs), *control])

    @property
    def output_topics(self) -> tuple[str, ...]:
        """All topics that outputs are written to, each once."""
        own = (*self.labels_topics, *self.review_topics, self.output.dead_letter_topic)
        own = (*own, *self.escalation_topics.values())
        return own if self.shadow is None else (*own, self.shadow.topic)

    @property
    def cascades(self) -> Mapping[str | None, Sequence[StageSettings]]:
        """The stages of each task, by its name; None: the stream has only one. Empty: a model."""
        if not self.tasks:
            return {None: self.cascade}
        return {name: task.cascade for name, task in self.tasks.items()}

    @property
    def tasks_here(self) -> Mapping[str, StreamTaskSettings]:
        """The tasks of this service: all, or the one of whose cascade it runs a later part."""
        later = [
            name
            for name, task in self.tasks.items()
            if part_here(task.cascade, self.input.weights)[0] > 0
        ]
        return {name: self.tasks[name] for name in later or self.tasks}

    @property
    def reads_escalations(self) -> bool:
        """Whether this service runs a later part of a cascade."""
        return any(
            part_here(stages, self.input.weights)[0] > 0 for stages in self.cascades.values()
        )

    @property
    def escalation_topics(self) -> Mapping[str, str]:
        """Where records go that the stages of this service are not sure of: setting -> topic."""
        ways = {"cascade": self.cascade}
        ways |= {f"tasks.{name}.cascade": task.cascade for name, task in self.tasks_here.items()}
        found: dict[str, str] = {}
        for path, stages in ways.items():
            to = passed_on(stages, self.input.weights)
            if to is not None and to.escalate is not None:
                found[f"{path}.{stages.index(to)}.escalate"] = to.escalate
        return found

    @property
    def labels_topics(self) -> tuple[str, ...]:
        """The topics of labels: one, or several if tasks have their own."""
        return self._topics_of_tasks("labels_topic")

    @property
    def review_topics(self) -> tuple[str, ...]:
        """The topics of reviews: one, or several if tasks have their own."""
        return self._topics_of_tasks("review_topic")

    def tasks_writing_to(self, topic: str) -> tuple[str, ...]:
        """Return the tasks whose labels or reviews are written to a topic."""
        labels, review = self.output.labels_topic, self.output.review_topic
        return tuple(
            name
            for name, task in self.tasks_here.items()
            if topic in {task.output.labels_topic or labels, task.output.review_topic or review}
        )

    def _topics_of_tasks(self, purpose: str) -> tuple[str, ...]:
        default: str = getattr(self.output, purpose)
        own = [getattr(task.output, purpose) or default for task in self.tasks_here.values()]
        return tuple(dict.fromkeys(own)) or (default,)

    @model_validator(mode="after")
    def _waits_fit_into_each_other(self) -> Self:
        """Refuse nested timeouts of which the outer one would expire before the inner one."""
        for shorter, longer, why in contradictions(self):
            raise ValueError(f"{shorter} must be less than {longer}, or {why}")
        return self
