"""A Kafka broker inside this process, for the demo.

librdkafka includes a mock cluster for its own tests. It implements the Kafka protocol on the
loopback interface and keeps all data in memory. It supports one at-least-once consumer: no
transactions, no second member in a group, at most 5 MiB per partition. Topics are created on first
use, with four partitions.
"""

from types import TracebackType
from typing import Any, Self

from streamlabel.errors import BrokerError
from streamlabel.extras import require

__all__ = ["EmbeddedBroker"]

_ANSWER_S = 10.0  # it answers within milliseconds; longer only on an overloaded machine


class EmbeddedBroker:
    """Runs within a ``with`` block; all data is lost at its end.

    Attributes:
        bootstrap_servers: its address, ``127.0.0.1:PORT``.
    """

    def __init__(self) -> None:
        self.bootstrap_servers = ""
        self._owner: Any = None

    def __enter__(self) -> Self:
        require("the embedded broker", "confluent_kafka", extra="demo")
        from confluent_kafka import KafkaException, Producer  # noqa: PLC0415 the demo extra

        # the cluster exists as long as the client that requested it; 3: log errors only
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
