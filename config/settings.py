"""Every setting of the service, with its default, unit and reason."""

from typing import Any, Literal, Self

from pydantic import (
    Field,
    SerializeAsAny,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from streamlabel.config.kafka import InputSettings, KafkaSettings, OutputSettings
from streamlabel.config.model import ModelSettings, WorkerSettings, or_installed
from streamlabel.config.routing import DriftSettings, RoutingSettings
from streamlabel.config.section import Section
from streamlabel.config.waits import contradictions

__all__ = [
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


class BatchingSettings(Section):
    """Micro-batching, and the limits of what is in flight."""

    max_batch_tokens: int | None = Field(
        None,
        ge=1,
        description="Maximum padded tokens of a batch: number of rows x tokens of the longest"
        " row. Default: depends on the device.",
    )
    max_batch_items: int = Field(512, ge=1, description="Maximum texts in a batch.")
    linger_s: float = Field(
        0.0,
        ge=0,
        description="How long to wait for a batch to fill. 0: an idle worker takes what is there"
        " at once.",
    )
    max_in_flight_items: int = Field(
        2048,
        ge=1,
        description="Maximum records in flight (read and not yet delivered). Reading pauses at"
        " the limit.",
    )
    max_in_flight_bytes: int = Field(
        128 * 1024 * 1024,
        ge=1024,
        description="Maximum bytes in flight: key, value and headers of the records. Reading"
        " pauses at the limit.",
    )


class RepeatSettings(Section):
    """Identical texts, which are classified once."""

    max_items: int = Field(
        10_000,
        ge=0,
        description="Maximum texts whose results are kept for identical texts that follow; they are"
        " marked `cached` in the outputs. 0: every text is classified.",
    )
    max_bytes: int = Field(
        16 * 1024 * 1024,
        ge=0,
        description="Maximum memory for these texts and results. The least recently used ones are"
        " dropped.",
    )


class DeliverySettings(Section):
    """Delivery guarantee and timeouts."""

    guarantee: Literal["at_least_once", "exactly_once"] = Field(
        "at_least_once",
        description="Delivery guarantee. at_least_once: an offset is committed after all outputs"
        " of its record are acknowledged; exactly_once: outputs and offset are"
        " written in one transaction, for readers with isolation level"
        " read_committed.",
    )
    transaction_interval_s: float = Field(
        0.0,
        ge=0,
        le=10,
        description="exactly_once: minimum time between two transactions of a partition. A longer"
        " interval puts more records into a transaction, which loads the brokers less"
        " but delays readers.",
    )
    transaction_timeout_ms: int = Field(
        30_000,
        ge=1_000,
        le=900_000,
        description="exactly_once: the brokers abort a transaction that takes longer than this."
        " After a process dies, read_committed readers may wait this long, plus up to"
        " 10 s until the broker checks"
        " (transaction.abort.timed.out.transaction.cleanup.interval.ms).",
    )
    commit_interval_s: float = Field(1.0, gt=0, description="Interval between offset commits.")
    drain_timeout_s: float = Field(
        30.0,
        gt=0,
        description="At SIGTERM, time to finish the records in flight before the process ends.",
    )
    revoke_timeout_s: float = Field(
        15.0,
        gt=0,
        description="At a rebalance, time to finish the records in flight of a revoked partition.",
    )
    delivery_timeout_s: float = Field(
        600.0,
        gt=0,
        description="The service stops if the brokers acknowledge nothing for this long while"
        " outputs wait.",
    )


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
    # Or a subclass of BackendSettings that another distribution registers.
    model: SerializeAsAny[ModelSettings] = Field(
        description="The model and its back end; has no default."
    )
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    batching: BatchingSettings = Field(default_factory=BatchingSettings)
    repeats: RepeatSettings = Field(default_factory=RepeatSettings)
    routing: RoutingSettings = Field(default_factory=RoutingSettings)
    drift: DriftSettings = Field(default_factory=DriftSettings)
    delivery: DeliverySettings = Field(default_factory=DeliverySettings)
    guard: GuardSettings = Field(default_factory=GuardSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    logging: LoggingSettings = Field(default_factory=LoggingSettings)

    @field_validator("model", mode="wrap")
    @classmethod
    def _ours_or_installed(cls, value: Any, ours: ValidatorFunctionWrapHandler) -> Any:  # noqa: ANN401
        return or_installed(value, ours)

    @model_validator(mode="after")
    def _topics_differ(self) -> Self:
        topics = {
            "output.labels_topic": self.output.labels_topic,
            "output.review_topic": self.output.review_topic,
            "output.dead_letter_topic": self.output.dead_letter_topic,
        }
        field = "input.topics" if self.input.topics else "input.topic"
        seen = dict.fromkeys(self.input.weights, field)
        for field, topic in topics.items():
            if topic in seen:
                raise ValueError(
                    f"{field}: {topic!r} is also {seen[topic]}; every topic needs a different name"
                )
            seen[topic] = field
        return self

    @model_validator(mode="after")
    def _waits_fit_into_each_other(self) -> Self:
        """Refuse nested timeouts of which the outer one would expire before the inner one."""
        for shorter, longer, why in contradictions(self):
            raise ValueError(f"{shorter} must be less than {longer}, or {why}")
        return self
