"""Checks the topics before the first record, or creates them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import structlog
from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code

from streamlabel.config.kafka import KafkaSettings
from streamlabel.consumer.kafka.clients import ask_client, ends_well
from streamlabel.consumer.kafka.connection import connection_options
from streamlabel.consumer.kafka.error_codes import is_denied
from streamlabel.consumer.kafka.errors import broker_error
from streamlabel.consumer.kafka.reaching import reaching
from streamlabel.consumer.kafka.topic_rules import READ_SETTINGS
from streamlabel.errors import ConfigError

__all__ = ["Topic", "ensure_topics", "find_topics", "refused_topics", "topic_names"]

_log = structlog.get_logger(__name__)

T = TypeVar("T")

# One attempt to reach the cluster; the caller repeats it. Long enough for a slow TLS handshake on
# a loaded machine, short enough that --start-timeout sees several attempts.
_ATTEMPT_TIMEOUT_S = 15.0
_CLOSE_TIMEOUT_S = 5.0
# A topic that was just created, by us or by another deployment, takes some time to appear in the
# metadata of every broker: well under a second, more on a loaded machine.
_VISIBLE_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Topic:
    """The properties of a topic.

    Attributes:
        partitions: how many, numbered from 0.
        settings: those of ``READ_SETTINGS`` that the topic has, empty if we may not read them.
        replicas: the smallest number of any partition.
        in_sync: the smallest number in sync of any partition.
    """

    name: str
    partitions: int
    settings: Mapping[str, str] = field(default_factory=dict)
    replicas: int = 1
    in_sync: int = 1

    @property
    def max_batch_bytes(self) -> int | None:
        """The maximum size of a batch; None if we may not read it."""
        limits = [self.settings.get(name) for name in ("max.message.bytes", "segment.bytes")]
        return min((int(limit) for limit in limits if limit is not None), default=None)


async def ensure_topics(kafka: KafkaSettings, names: Sequence[str]) -> Mapping[str, Topic]:
    """Return the topics, after creating missing ones if ``kafka.create_topics`` is true.

    Raises:
        BrokerError: retriable: the cluster cannot be reached; not: access denied.
        ConfigError: a topic is missing and we may not create it.
    """

    async def ask(admin: AIOKafkaAdminClient) -> Mapping[str, Topic]:
        return await _with_settings(admin, await _find(admin, kafka, names))

    return await _ask(kafka, names, ask)


async def find_topics(kafka: KafkaSettings, names: Sequence[str]) -> Mapping[str, Topic]:
    """Return those of the topics that exist now; creates none and waits for none.

    Raises:
        BrokerError: retriable: the cluster cannot be reached; not: access denied.
    """

    async def ask(admin: AIOKafkaAdminClient) -> Mapping[str, Topic]:
        return await _with_settings(admin, await _present(admin, names))

    return await _ask(kafka, names, ask)


async def topic_names(kafka: KafkaSettings) -> Sequence[str]:
    """Return the names of all topics that this user may see.

    Raises:
        BrokerError: retriable: the cluster cannot be reached; not: access denied.
    """
    return await _ask(kafka, ["of the cluster"], lambda admin: admin.list_topics())


async def _ask(
    kafka: KafkaSettings,
    names: Sequence[str],
    ask: Callable[[AIOKafkaAdminClient], Awaitable[T]],
) -> T:
    admin = AIOKafkaAdminClient(**await connection_options(kafka))

    async def start_and_ask() -> T:
        await admin.start()
        return await ask(admin)

    async with reaching(kafka, f"looking for the topics {', '.join(names)}"):
        async with asyncio.timeout(_ATTEMPT_TIMEOUT_S):
            return await ask_client(start_and_ask(), stop=partial(_close, admin))


async def _close(admin: AIOKafkaAdminClient) -> None:
    await ends_well(admin.close(), timeout_s=_CLOSE_TIMEOUT_S)


async def refused_topics(kafka: KafkaSettings, names: Sequence[str]) -> Sequence[str]:
    """Return which of the missing topics this user may not create; creates none.

    Raises:
        BrokerError: the cluster cannot be reached, or refuses a topic for another reason.
    """

    async def ask(admin: AIOKafkaAdminClient) -> Any:  # noqa: ANN401 aiokafka's
        return await admin.create_topics(_planned(kafka, names), validate_only=True)

    response = await _ask(kafka, names, ask)
    refused = []
    for name, code, *_ in response.topic_errors:
        error = for_code(code)
        if is_denied(code):
            refused.append(name)
        elif error not in (kafka_errors.NoError, kafka_errors.TopicAlreadyExistsError):
            raise broker_error(error(name), f"creating the topic {name} (kafka.create_topics)")
    return refused


def _planned(kafka: KafkaSettings, names: Sequence[str]) -> list[NewTopic]:
    return [NewTopic(name, kafka.partitions, kafka.replication_factor) for name in names]


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
        entry["topic"]: Topic(
            entry["topic"],
            len(entry["partitions"]),
            replicas=min(len(partition["replicas"]) for partition in entry["partitions"]),
            in_sync=min(len(partition["isr"]) for partition in entry["partitions"]),
        )
        for entry in described
        if entry["topic"] in names and entry["partitions"]
    }


async def _create(admin: AIOKafkaAdminClient, kafka: KafkaSettings, names: Sequence[str]) -> None:
    response = await admin.create_topics(_planned(kafka, names))
    for name, code, *_ in response.topic_errors:
        error = for_code(code)
        if error is kafka_errors.NoError:
            _log.info("topic_created", topic=name, partitions=kafka.partitions)
        elif error is not kafka_errors.TopicAlreadyExistsError:  # another process was faster
            doing = f"creating the topic {name} (kafka.create_topics)"
            raise broker_error(error(name), doing, right="Create")


async def _with_settings(
    admin: AIOKafkaAdminClient, found: Mapping[str, Topic]
) -> Mapping[str, Topic]:
    if not found:
        return found
    wanted = dict.fromkeys(READ_SETTINGS)
    resources = [ConfigResource(ConfigResourceType.TOPIC, name, wanted) for name in found]
    try:
        responses = await admin.describe_configs(resources)
    except kafka_errors.IncompatibleBrokerVersion:  # an embedded broker knows no configs
        return found
    settings = {
        name: {entry[0]: entry[1] for entry in entries if entry[1] is not None}
        for response in responses
        for code, _, _, name, entries in response.resources
        if code == 0
    }
    for name in found.keys() - settings.keys():
        _log.info("topic_limit_unknown", topic=name, needs="DescribeConfigs on the topic")
    return {name: replace(topic, settings=settings.get(name, {})) for name, topic in found.items()}
