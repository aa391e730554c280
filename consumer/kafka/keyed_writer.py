"""Writes to a compacted topic, with one writer at a time.

A later writer fences earlier ones through the transactional id, so that one that was paused cannot
overwrite a newer record of the same key with an older one.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from streamlabel.config.kafka import KafkaSettings
from streamlabel.consumer.core.records import Headers
from streamlabel.consumer.kafka.clients import ask_client, ends_well
from streamlabel.consumer.kafka.connection import connection_options
from streamlabel.consumer.kafka.errors import broker_error, mapped
from streamlabel.consumer.kafka.producer import abandon, start_producer, stop_producer
from streamlabel.consumer.kafka.reaching import reaching
from streamlabel.consumer.kafka.topics import find_topics
from streamlabel.errors import ConfigError

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

__all__ = ["Keyed", "KeyedWriter"]

_TIMEOUT_S: Final = 30.0
_CLOSE_TIMEOUT_S: Final = 5.0
# Of a record beside its value, with a key of up to 1,000 bytes.
_RECORD_BYTES: Final = 1_200

_log = structlog.get_logger(__name__)


class Keyed(NamedTuple):
    """A record with a key; without a value it deletes the key."""

    key: bytes
    value: bytes | None
    headers: Headers = ()


class KeyedWriter:
    """Writes records with keys, each batch in one transaction.

    Args:
        kafka: which cluster.
        topic: compacted; created if it is missing and ``kafka.create_topics`` is true.
        name: transactional id, equal for writers that replace each other.

    Attributes:
        limit_bytes: of a value.
    """

    def __init__(self, kafka: KafkaSettings, topic: str, *, name: str) -> None:
        self.limit_bytes = kafka.max_request_bytes - _RECORD_BYTES
        self._kafka = kafka
        self._topic = topic
        self._name = name
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Check or create the topic, and fence earlier writers.

        Raises:
            ConfigError: the topic is missing.
            BrokerError: the brokers cannot be reached, or refuse.
        """
        found = (await find_topics(self._kafka, [self._topic])).get(self._topic)
        if found is None:
            await self._create()
        else:
            self._check(found.settings.get("cleanup.policy"), found.max_batch_bytes)
        self._producer = await start_producer(
            self._kafka,
            timeout_s=_TIMEOUT_S,
            transactional_id=self._name,
            transaction_timeout_ms=round(_TIMEOUT_S * 1000),
        )

    def _check(self, policy: str | None, max_batch_bytes: int | None) -> None:
        if policy is not None and "compact" not in policy:
            _log.warning(
                "topic_not_compacted",
                topic=self._topic,
                advice="set cleanup.policy=compact, or retention deletes what is still valid",
            )
        if max_batch_bytes is not None:
            self.limit_bytes = min(self.limit_bytes, max_batch_bytes - _RECORD_BYTES)

    async def _create(self) -> None:
        if not self._kafka.create_topics:
            raise ConfigError(
                f"topic {self._topic} does not exist: create it with cleanup.policy=compact, or set"
                " kafka.create_topics: true"
            )
        admin = AIOKafkaAdminClient(**await connection_options(self._kafka))
        topic = NewTopic(
            self._topic,
            self._kafka.partitions,
            self._kafka.replication_factor,
            topic_configs={"cleanup.policy": "compact"},
        )

        async def ask() -> Any:  # noqa: ANN401 aiokafka's
            await admin.start()
            return await admin.create_topics([topic])

        async def close() -> None:
            await ends_well(admin.close(), timeout_s=_CLOSE_TIMEOUT_S)

        doing = f"creating the topic {self._topic} (kafka.create_topics)"
        async with reaching(self._kafka, doing), asyncio.timeout(_TIMEOUT_S):
            response = await ask_client(ask(), stop=close)
        for _, code, *_ in response.topic_errors:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:
                raise broker_error(error(self._topic), doing, right="Create")

    async def write(self, records: Sequence[Keyed]) -> None:
        """Return when all of them are on the topic; in order for each key.

        Raises:
            BrokerError: start again; some may have been written.
        """
        producer = self._producer
        if producer is None:
            raise RuntimeError("start() comes first. This is a bug.")
        with mapped(f"writing to {self._topic}"):
            async with asyncio.timeout(_TIMEOUT_S):
                await producer.begin_transaction()
                sent = [
                    await producer.send(
                        self._topic, each.value, key=each.key, headers=list(each.headers)
                    )
                    for each in records
                ]
                await asyncio.gather(*sent)
                await producer.commit_transaction()

    async def close(self, *, at_once: bool = False) -> None:
        """Disconnect.

        Args:
            at_once: after an error: what was not sent is dropped.
        """
        producer, self._producer = self._producer, None
        if producer is not None:
            await (abandon(producer) if at_once else stop_producer(producer))
