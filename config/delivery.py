"""The settings of delivery, and of the guard against too many dead letters."""

from typing import Literal

from pydantic import Field

from streamlabel.config.section import Section

__all__ = ["DeliverySettings", "GuardSettings"]


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
