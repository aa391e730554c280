"""Leaders and coordinators that move between three brokers."""

import asyncio

import pytest

from streamlabel.config.kafka import KafkaSettings
from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.core.records import Position, TopicPartition
from streamlabel.consumer.kafka.open_ports import KafkaSink, TransactionalSink
from streamlabel.errors import BrokerError, PartitionLostError
from testing.kafka_broker import LocalCluster

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]

WITHIN_S = 120.0
in_thread = asyncio.to_thread  # the helpers of the cluster block


def settings(cluster: LocalCluster, group: str) -> KafkaSettings:
    return KafkaSettings(
        bootstrap_servers=cluster.bootstrap, group_id=group, request_timeout_ms=20_000
    )


async def test_deliveries_go_on_while_each_broker_in_turn_is_killed(
    three_brokers: LocalCluster,
) -> None:
    names = ("texts", "labels", "copies")
    texts, labels, copies = (
        three_brokers.topic(name, replicas=3, min_insync_replicas=2) for name in names
    )
    at = TopicPartition(texts, 0)
    kafka = settings(three_brokers, texts)
    plain = KafkaSink(kafka, [labels])
    exact = TransactionalSink(kafka, [copies], transaction_timeout_ms=20_000)
    await plain.start()
    await exact.start()
    await exact.assigned([at])
    done = 0

    async def deliver(offset: int) -> None:
        value, position = b"%d" % offset, Position(texts, 0, offset)
        while True:
            try:
                await plain.deliver(at, [Outbound(labels, None, value, (), position)], offset + 1)
                break
            except BrokerError as error:
                if not error.retriable:
                    raise
        while (await in_thread(three_brokers.committed, texts, texts) or 0) <= offset:
            try:
                await exact.deliver(at, [Outbound(copies, None, value, (), position)], offset + 1)
            except PartitionLostError:
                await exact.assigned([at])  # and the committed offset is read again: no repetition

    async with asyncio.timeout(2 * WITHIN_S):
        for number in (1, 2, 3):
            await deliver(done)
            await in_thread(three_brokers.kill, number)
            await deliver(done + 1)
            three_brokers.start_node(number)
            await in_thread(three_brokers.wait_ready)
            done += 2
    await plain.stop()
    await exact.stop()
    found = [message.value() for message in await in_thread(three_brokers.read, copies)]
    assert found == [b"%d" % offset for offset in range(6)]
    found = [message.value() for message in await in_thread(three_brokers.read, labels)]
    assert sorted(set(found)) == [b"%d" % offset for offset in range(6)]
