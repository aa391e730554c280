"""A Kafka broker inside this process, for trying out.

librdkafka carries a mock cluster for its own tests. It speaks the real protocol on loopback and
keeps everything in memory. It serves one at-least-once consumer: no transactions, no second member
in a group, at most 5 MiB per partition. Topics appear on first use, with four partitions.
"""

from types import TracebackType
from typing import Any, Self

from streamlabel.errors import BrokerError, ConfigError

__all__ = ["EmbeddedBroker"]

_ANSWER_S = 10.0  # it answers within milliseconds; this only bounds a machine that is overloaded


class EmbeddedBroker:
    """Runs from ``with`` to its end; everything written to it is gone afterwards.

    Attributes:
        bootstrap_servers: where clients find it, ``127.0.0.1:PORT``.
    """

    def __init__(self) -> None:
        self.bootstrap_servers = ""
        self._owner: Any = None

    def __enter__(self) -> Self:
        try:
            from confluent_kafka import KafkaException, Producer  # noqa: PLC0415 the demo extra
        except ImportError as error:
            raise ConfigError(
                "the embedded broker needs the demo extra; install streamlabel[demo]"
            ) from error
        # the cluster lives as long as the client that asked for it; 3: it logs errors only
        self._owner = Producer({"test.mock.num.brokers": 1, "log_level": 3})
        try:
            brokers = self._owner.list_topics(timeout=_ANSWER_S).brokers.values()
        except KafkaException as error:
            raise BrokerError(f"the embedded broker does not answer: {error}") from error
        self.bootstrap_servers = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
        return self

    def create_topic(self, name: str) -> int:
        """Create ``name`` and return its number of partitions."""
        metadata = self._owner.list_topics(name, timeout=_ANSWER_S)
        return len(metadata.topics[name].partitions)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._owner = None
        self.bootstrap_servers = ""
