"""Every setting of the service, with its default, unit and reason."""

from collections.abc import Iterator
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from streamlabel.config.audit import AuditSettings, audit_problem
from streamlabel.config.batching import BatchingSettings, RepeatSettings
from streamlabel.config.delivery import DeliverySettings
from streamlabel.config.kafka import InputSettings, KafkaSettings, OutputSettings
from streamlabel.config.model import AnyModel
from streamlabel.config.routing import DriftSettings, RoutingSettings
from streamlabel.config.section import Section
from streamlabel.config.several import (
    ControlSettings,
    ShadowSettings,
    ShortName,
    StageSettings,
    StreamTaskSettings,
    cascade_problem,
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
]


class GuardSettings(Section):
    """Dead-letter guard: stops the service when too many records become dead letters."""

    max_consecutive: int = Field(
        100,
        ge=0,
        description="Consecutive dead letters in one partition that stop the service. 0 turns"
        " this off.",
    )
    max_ratio: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Fraction of dead letters in the window that stops the service. 1 turns this"
        " off.",
    )
    window_items: int = Field(
        1000, ge=10, description="Number of latest records over which max_ratio is computed."
    )


class HttpSettings(Section):
    """The HTTP server for health probes and metrics."""

    enabled: bool = Field(
        True, description="Serve /livez, /readyz, /startupz and /metrics over HTTP."
    )
    host: str = Field("0.0.0.0", description="IP address to listen on.")  # noqa: S104 probes come from outside
    port: int = Field(
        8080, ge=0, le=65535, description="TCP port to listen on. 0: choose a free port and log it."
    )
    live_after_s: float = Field(
        900.0,
        gt=0,
        description="/livez fails if records are waiting and none was delivered for this long."
        " Must exceed the timeouts of loading the model, a batch, a delivery, a drain"
        " and a rebalance.",
    )
    broker_grace_s: float = Field(
        15.0,
        ge=0,
        description="/readyz fails if the brokers have not answered for this long. A change of"
        " partition leader takes less.",
    )


class LoggingSettings(Section):
    """Logging. Log lines never contain the text of a record."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Minimum level of the log lines to write."
    )
    format: Literal["auto", "json", "console"] = Field(
        "auto", description="Format of the log lines. auto: console on a terminal, JSON otherwise."
    )
    period_s: float = Field(
        10.0,
        ge=0,
        description="Interval of the summary line at INFO (records, batches, outcomes by reason,"
        " times, lag). It is left out if nothing happened. 0 turns it off. At DEBUG"
        " every batch has its own line.",
    )


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
    logging: LoggingSettings = Field(default_factory=LoggingSettings)

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
        problem = cascade_problem(self.cascade, has_routing=has_routing) or task_problem(self.tasks)
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
    def _topics_differ(self) -> Self:
        """Refuse a topic with two purposes. Tasks may share the topics of their labels."""
        seen: dict[str, tuple[str, str]] = {}
        for field, topic in self._topics():
            purpose = field.rpartition(".")[2]
            before, first = seen.setdefault(topic, (purpose, field))
            if before != purpose or (first != field and not field.startswith("tasks.")):
                raise ValueError(
                    f"{field}: {topic!r} is also {first}; every topic needs a different name"
                )
        return self

    def _topics(self) -> Iterator[tuple[str, str]]:
        field = "input.topics" if self.input.topics else "input.topic"
        yield from ((field, topic) for topic in self.input.weights)
        for purpose in ("labels_topic", "review_topic", "dead_letter_topic"):
            yield f"output.{purpose}", getattr(self.output, purpose)
        if self.shadow is not None:
            yield "shadow.topic", self.shadow.topic
        for name, task in self.tasks.items():
            for purpose in ("labels_topic", "review_topic"):
                topic = getattr(task.output, purpose)
                if topic is not None:
                    yield f"tasks.{name}.output.{purpose}", topic

    @property
    def output_topics(self) -> tuple[str, ...]:
        """All topics that outputs are written to, each once."""
        own = (*self.labels_topics, *self.review_topics, self.output.dead_letter_topic)
        return own if self.shadow is None else (*own, self.shadow.topic)

    @property
    def labels_topics(self) -> tuple[str, ...]:
        """The topics of labels: one, or several if tasks have their own."""
        return self._topics_of_tasks("labels_topic")

    @property
    def review_topics(self) -> tuple[str, ...]:
        """The topics of reviews: one, or several if tasks have their own."""
        return self._topics_of_tasks("review_topic")

    def _topics_of_tasks(self, purpose: str) -> tuple[str, ...]:
        default: str = getattr(self.output, purpose)
        own = [getattr(task.output, purpose) or default for task in self.tasks.values()]
        return tuple(dict.fromkeys(own)) or (default,)

    @model_validator(mode="after")
    def _waits_fit_into_each_other(self) -> Self:
        """Refuse nested timeouts of which the outer one would expire before the inner one."""
        for shorter, longer, why in contradictions(self):
            raise ValueError(f"{shorter} must be less than {longer}, or {why}")
        return self
