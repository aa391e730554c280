"""The settings of what others see of the service: HTTP, logs, traces."""

from typing import Literal

from pydantic import Field

from streamlabel.config.section import Section

__all__ = ["HttpSettings", "LoggingSettings", "TracingSettings"]


class HttpSettings(Section):
    """The HTTP server for health probes, metrics and the live page."""

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
    page: bool = Field(
        True,
        description="Serve a page at / that shows what the service does now: state, rates, lag,"
        " errors by reason, thresholds, drift. Read-only, and without the text of a record.",
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


class TracingSettings(Section):
    """Traces in OpenTelemetry's format. They never contain the text of a record."""

    enabled: bool = Field(
        False,
        description="Send traces. Requires the extra tracing. Without it outputs keep the trace"
        " context of their record unchanged.",
    )
    sample: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Fraction of the records without a trace context of which a trace is begun. A"
        " record with one is traced if its producer sampled it.",
    )
    endpoint: str | None = Field(
        None,
        description="URL to which traces are sent (OTLP over HTTP), such as"
        " http://collector:4318/v1/traces. Default: that of the environment variables"
        " OTEL_EXPORTER_OTLP_*, else this machine.",
    )
