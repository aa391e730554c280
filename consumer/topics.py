"""The topics must be there before the first record: check them, or create them."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code

from streamlabel.config.kafka import KafkaSettings
from streamlabel.consumer.kafka_connection import connection_options
from streamlabel.consumer.kafka_errors import broker_error, mapped
from streamlabel.errors import ConfigError

__all__ = ["Topic", "ensure_topics", "find_topics"]

_log = structlog.get_logger(__name__)

# One attempt to reach the cluster; the caller repeats it. Long enough for a slow TLS handshake on
# a loaded machine, short enough that --start-timeout sees several attempts.
_ATTEMPT_TIMEOUT_S = 15.0
# A topic that was created just now, by us or by a deployment beside us, takes its time to reach
# the metadata of every broker: well under a second, more on a loaded machine.
_VISIBLE_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Topic:
    """What we must know about a topic.

    Attributes:
        partitions: how many, numbered from 0.
        max_batch_bytes: its max.message.bytes, None if we are not allowed to read it.
    """

    name: str
    partitions: int
    max_batch_bytes: int | None = None


async def ensure_topics(kafka: KafkaSettings, names: Sequence[str]) -> Mapping[str, Topic]:
    """Return the topics, after creating missing ones if ``kafka.create_topics`` says so.

    Raises:
        BrokerError: retriable: the cluster cannot be reached; not: access denied.
        ConfigError: a topic is missing and we may not create it.
    """
    options = await connection_options(kafka)
    admin = AIOKafkaAdminClient(**options)
    try:
        with mapped(f"looking for the topics {', '.join(names)}"):
            async with asyncio.timeout(_ATTEMPT_TIMEOUT_S):
                await admin.start()
                found = await _find(admin, kafka, names)
                return await _with_limits(admin, found)
    finally:
        await admin.close()


async def find_topics(kafka: KafkaSettings, names: Sequence[str]) -> Mapping[str, Topic]:
    """Return those of the topics that are there now; creates none and waits for none.

    Raises:
        BrokerError: retriable: the cluster cannot be reached; not: access denied.
    """
    admin = AIOKafkaAdminClient(**await connection_options(kafka))
    try:
        with mapped(f"looking for the topics {', '.join(names)}"):
            async with asyncio.timeout(_ATTEMPT_TIMEOUT_S):
                await admin.start()
                return await _present(admin, names)
    finally:
        await admin.close()


async def _find(
    admin: AIOKafkaAdminClient, kafka: KafkaSettings, names: Sequence[str]
) -> dict[str, Topic]:
    present = await _present(admin, names)
    missing = [name for name in names if name not in present]
    if missing and kafka.create_topics:
        await _create(admin, kafka, missing)
    deadline_s = asyncio.get_running_loop().time() + _VISIBLE_WITHIN_S
    while missing and asyncio.get_running_loop().time() < deadline_s:
        await asyncio.sleep(0.1)
        present = await _present(admin, names)
        missing = [name for name in names if name not in present]
    if missing:
        raise ConfigError(
            f"topic(s) {', '.join(missing)} do not exist, or this user may not see them: create"
            " them, grant Describe, or set kafka.create_topics: true"
        )
    return present


async def _present(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, Topic]:
    # Metadata of all topics: asking for one by name would create it on brokers with
    # auto.create.topics.enable, with the wrong number of partitions.
    described: list[dict[str, Any]] = await admin.describe_topics()
    return {
        entry["topic"]: Topic(entry["topic"], len(entry["partitions"]))
        for entry in described
        if entry["topic"] in names and entry["partitions"]
    }


async def _create(admin: AIOKafkaAdminClient, kafka: KafkaSettings, names: Sequence[str]) -> None:
    topics = [NewTopic(name, kafka.partitions, kafka.replication_factor) for name in names]
    response = await admin.create_topics(topics)
    for name, code, *_ in response.topic_errors:
        error = for_code(code)
        if error is kafka_errors.NoError:
            _log.info("topic_created", topic=name, partitions=kafka.partitions)
        elif error is not kafka_errors.TopicAlreadyExistsError:  # another process was faster
            raise broker_error(error(), f"creating the topic {name}")


async def _with_limits(
    admin: AIOKafkaAdminClient, found: Mapping[str, Topic]
) -> Mapping[str, Topic]:
    resources = [
        ConfigResource(ConfigResourceType.TOPIC, name, {"max.message.bytes": None})
        for name in found
    ]
    try:
        responses = await admin.describe_configs(resources)
    except kafka_errors.IncompatibleBrokerVersion:  # an embedded broker knows no configs
        return found
    limits = {
        name: int(entries[0][1])
        for response in responses
        for code, _, _, name, entries in response.resources
        if code == 0 and entries
    }
    for name in found.keys() - limits.keys():
        _log.info("topic_limit_unknown", topic=name, needs="DescribeConfigs on the topic")
    return {name: Topic(name, topic.partitions, limits.get(name)) for name, topic in found.items()}
