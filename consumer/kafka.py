"""The two record ports over a real Kafka, as the settings want them.

Only the modules named kafka_* and ``topics`` know aiokafka; the rest of the service knows this.
"""

from streamlabel.config.settings import Settings
from streamlabel.consumer.kafka_sink import KafkaSink
from streamlabel.consumer.kafka_source import KafkaSource
from streamlabel.consumer.kafka_transactions import TransactionalSink
from streamlabel.consumer.ports import Clock, RecordSink, RecordSource

__all__ = ["KafkaSink", "KafkaSource", "TransactionalSink", "open_ports"]


def open_ports(settings: Settings, clock: Clock) -> tuple[RecordSource, RecordSink]:
    """Return the source and the sink of a service, not started yet."""
    source = KafkaSource(
        settings.kafka,
        settings.input,
        clock,
        revoke_timeout_s=settings.delivery.revoke_timeout_s,
    )
    output = settings.output
    topics = (output.labels_topic, output.review_topic, output.dead_letter_topic)
    if settings.delivery.guarantee == "exactly_once":
        return source, TransactionalSink(
            settings.kafka,
            topics,
            transaction_timeout_ms=settings.delivery.transaction_timeout_ms,
        )
    return source, KafkaSink(settings.kafka, topics)
