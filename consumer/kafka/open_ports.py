"""Creates the record source and sink for Kafka from the settings.

Only this room uses aiokafka; the rest of the service uses this module.
"""

import asyncio

from streamlabel.config.kafka import KafkaSettings
from streamlabel.config.settings import Settings
from streamlabel.consumer.core.ports import Clock, Metrics, RecordSink, RecordSource
from streamlabel.consumer.delivery.time_range import TimeRange
from streamlabel.consumer.kafka.diagnosis import diagnose
from streamlabel.consumer.kafka.passwords import watch_passwords
from streamlabel.consumer.kafka.sink import KafkaSink
from streamlabel.consumer.kafka.source import KafkaSource
from streamlabel.consumer.kafka.throttling import watch_throttling
from streamlabel.consumer.kafka.tls import watch_certificates
from streamlabel.consumer.kafka.transactional_sink import TransactionalSink
from streamlabel.errors import StreamlabelError

__all__ = [
    "KafkaSink",
    "KafkaSource",
    "Ports",
    "TransactionalSink",
    "cause_of_outage",
    "open_ports",
    "watch_clients",
]

Ports = tuple[RecordSource, RecordSink]


def open_ports(
    settings: Settings, clock: Clock, *, time_range: TimeRange | None = None
) -> tuple[KafkaSource, RecordSink]:
    """Return the source and the sink of a service, or of a bounded run, not started yet."""
    source = KafkaSource(
        settings.kafka,
        settings.input,
        clock,
        revoke_timeout_s=settings.delivery.revoke_timeout_s,
        time_range=time_range,
        not_ours=settings.own_topics,
    )
    topics = settings.output_topics
    if settings.delivery.guarantee == "exactly_once":
        return source, TransactionalSink(
            settings.kafka,
            topics,
            transaction_timeout_ms=settings.delivery.transaction_timeout_ms,
            metadata=source.metadata,
        )
    return source, KafkaSink(settings.kafka, topics, may_send=source.lease.is_held)


async def cause_of_outage(kafka: KafkaSettings) -> str | None:
    """Return why the brokers cannot be used; None if they can by now, or the cause is unknown."""
    try:
        cause = await diagnose(kafka)
    except StreamlabelError as error:  # a file that the settings name is missing
        return str(error)
    return None if cause is None else cause.sentence


async def watch_clients(clock: Clock, metrics: Metrics) -> None:
    """Renew certificates and passwords of all clients, and count what quotas cost, for ever."""
    async with asyncio.TaskGroup() as group:
        group.create_task(watch_certificates(clock))
        group.create_task(watch_passwords(clock))
        group.create_task(watch_throttling(clock, metrics))
