"""Every setting of the service, with its default, unit and reason."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from streamlabel.config.kafka import InputSettings, KafkaSettings, OutputSettings
from streamlabel.config.model import ModelSettings, WorkerSettings
from streamlabel.config.section import Section

__all__ = [
    "BatchingSettings",
    "DeliverySettings",
    "DriftSettings",
    "GuardSettings",
    "HttpSettings",
    "LoggingSettings",
    "RoutingSettings",
    "Settings",
]

Threshold = Annotated[float, Field(gt=0, le=1)]


class BatchingSettings(Section):
    """Micro-batches: work-conserving, bounded by what the device pays."""

    max_batch_tokens: int | None = Field(
        None,
        ge=1,
        description="Padded tokens (rows x longest row) a batch may have; default: what suits the"
        " device.",
    )
    max_batch_items: int = Field(512, ge=1, description="Texts a batch may have.")
    linger_s: float = Field(
        0.0, ge=0, description="Wait this long for a batch to fill. 0: a free worker never waits."
    )
    max_in_flight_items: int = Field(
        2048, ge=1, description="Records read and not yet delivered; at the limit reading pauses."
    )
    max_in_flight_bytes: int = Field(
        128 * 1024 * 1024, ge=1024, description="The same in bytes of key, value and headers."
    )


class RoutingSettings(Section):
    """When a label is sure enough."""

    threshold: Threshold = Field(0.5, description="Least confidence that needs no person.")
    thresholds: dict[str, Threshold] = Field(
        default_factory=dict, description="Per label; overrides threshold."
    )
    margin: float = Field(
        0.0, ge=0, lt=1, description="Least distance to the second most probable label."
    )
    max_off_label_mass: Threshold = Field(
        0.5, description="LLM: more probability than this outside the label set goes to review."
    )
    review_truncated: bool = Field(
        False, description="Send texts that the model did not see whole to review."
    )
    review: Literal["divert", "copy"] = Field(
        "divert", description="divert: to review only; copy: to labels and review."
    )
    calibration: str | None = Field(
        None,
        description="File that `streamlabel calibrate` wrote: probabilities that mean what they say"
        " and thresholds that keep a promise; thresholds given here override its own.",
    )
    audit_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the certain ones that people see too, drawn by a hash of the id.",
    )


class DriftSettings(Section):
    """Compares the traffic with that of the calibration, window by window."""

    window_items: int = Field(
        2000, ge=0, description="Results per comparison; needs routing.calibration. 0: no watch."
    )
    significance: float = Field(
        0.001, gt=0, lt=1, description="Chance that a window without drift counts as one."
    )
    min_label_shift: float = Field(
        0.2, ge=0, description="Label mix: population stability index that matters."
    )
    min_distance: float = Field(
        0.1, ge=0, le=1, description="Confidence, length: Kolmogorov-Smirnov distance that matters."
    )
    tighten: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="At drift thresholds move this part of their way to 1, until a restart. 0: no.",
    )


class DeliverySettings(Section):
    """What is promised about every record, and how long things may take."""

    guarantee: Literal["at_least_once", "exactly_once"] = Field(
        "at_least_once",
        description="at_least_once: an offset is committed after everything it caused is acked;"
        " exactly_once: outputs and offset are one transaction, for readers with read_committed.",
    )
    transaction_interval_s: float = Field(
        0.0,
        ge=0,
        le=10,
        description="exactly_once: least time between two transactions of a partition. Longer"
        " ones carry more records and cost the brokers less; readers wait for them.",
    )
    transaction_timeout_ms: int = Field(
        30_000,
        ge=1_000,
        le=900_000,
        description="exactly_once: brokers abort a transaction that takes longer; a process that"
        " died holds up readers for at most this long.",
    )
    commit_interval_s: float = Field(1.0, gt=0, description="Between two offset commits.")
    drain_timeout_s: float = Field(
        30.0, gt=0, description="At SIGTERM: finish what is in flight within this, then leave."
    )
    revoke_timeout_s: float = Field(
        15.0, gt=0, description="At a rebalance: finish what is in flight within this."
    )
    delivery_timeout_s: float = Field(
        600.0, gt=0, description="Brokers that do not answer for this long end the service."
    )


class GuardSettings(Section):
    """Stops the service when dead letters say that something is systematically wrong."""

    max_consecutive: int = Field(
        100, ge=0, description="Dead letters in a row in one partition; 0 turns this off."
    )
    max_ratio: float = Field(
        0.5, ge=0, le=1, description="Share of dead letters in the window; 1 turns this off."
    )
    window_items: int = Field(1000, ge=10, description="Records the ratio looks at.")


class HttpSettings(Section):
    """Health and metrics."""

    enabled: bool = Field(True, description="Serve /livez, /readyz, /startupz and /metrics.")
    host: str = Field("0.0.0.0", description="Address to listen on.")  # noqa: S104 probes come from outside
    port: int = Field(8080, ge=0, le=65535, description="0 takes a free one and logs it.")
    live_after_s: float = Field(
        900.0, gt=0, description="/livez fails when work waits and nothing was delivered this long."
    )


class LoggingSettings(Section):
    """Logs never hold the text of a record."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least level.")
    format: Literal["auto", "json", "console"] = Field(
        "auto", description="auto: console on a terminal, else JSON."
    )


class Settings(Section):
    """The whole configuration."""

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    input: InputSettings = Field(default_factory=InputSettings)
    output: OutputSettings = Field(default_factory=OutputSettings)
    model: ModelSettings = Field(description="Which model; has no default.")
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    batching: BatchingSettings = Field(default_factory=BatchingSettings)
    routing: RoutingSettings = Field(default_factory=RoutingSettings)
    drift: DriftSettings = Field(default_factory=DriftSettings)
    delivery: DeliverySettings = Field(default_factory=DeliverySettings)
    guard: GuardSettings = Field(default_factory=GuardSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    logging: LoggingSettings = Field(default_factory=LoggingSettings)

    @model_validator(mode="after")
    def _topics_differ(self) -> Self:
        topics = {
            "input.topic": self.input.topic,
            "output.labels_topic": self.output.labels_topic,
            "output.review_topic": self.output.review_topic,
            "output.dead_letter_topic": self.output.dead_letter_topic,
        }
        seen: dict[str, str] = {}
        for field, topic in topics.items():
            if topic in seen:
                raise ValueError(
                    f"{field}: {topic!r} is also {seen[topic]}; every topic needs a name of its own"
                )
            seen[topic] = field
        return self

    @model_validator(mode="after")
    def _an_outage_ends_before_the_worker_is_killed(self) -> Self:
        """Else an endpoint that is down would look like a worker that hangs, restart by restart."""
        model, limit_s = self.model, self.worker.batch_timeout_s
        if model.backend == "remote" and model.outage_timeout_s >= limit_s:
            raise ValueError(
                f"model.outage_timeout_s, worker.batch_timeout_s: {model.outage_timeout_s:g} s must"
                f" be less than {limit_s:g} s, or the worker is killed before an outage is"
                " recognised; lower the first or raise the second"
            )
        return self
