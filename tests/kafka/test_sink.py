"""What the at-least-once sink keeps when topics, limits and brokers change under it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from streamlabel.config.kafka import KafkaSettings
from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.core.records import Position, TopicPartition
from streamlabel.consumer.kafka.open_ports import KafkaSink
from streamlabel.errors import BrokerError, ConfigError, OutputRefusedError
from testing.kafka_broker import Cluster, LocalCluster

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

P0 = TopicPartition("texts", 0)
in_thread = asyncio.to_thread  # the helpers of the cluster block


@asynccontextmanager
async def sink_to(
    cluster: Cluster, *topics: str, request_timeout_ms: int = 10_000, **more: object
) -> AsyncIterator[KafkaSink]:
    settings = KafkaSettings.model_validate(
        {
            "bootstrap_servers": cluster.bootstrap,
            "request_timeout_ms": request_timeout_ms,
            **more,
        }
    )
    sink = KafkaSink(settings, topics)
    await sink.start()
    try:
        yield sink
    finally:
        await sink.stop()


def outputs(topic: str, values: list[bytes], *, partition: int = 0) -> list[Outbound]:
    return [
        Outbound(topic, None, value, (), Position("texts", partition, offset))
        for offset, value in enumerate(values)
    ]


async def values(cluster: Cluster, topic: str) -> list[bytes]:
    return [message.value() for message in await in_thread(cluster.read, topic)]


async def test_one_delivery_may_go_to_several_topics(kafka: Cluster) -> None:
    one, two = kafka.topic("labels"), kafka.topic("review")
    async with sink_to(kafka, one, two) as sink:
        mixed = [*outputs(one, [b"1", b"2"]), *outputs(two, [b"3"]), *outputs(one, [b"4"])]
        await sink.deliver(P0, mixed, 4)
    assert await values(kafka, one) == [b"1", b"2", b"4"]
    assert await values(kafka, two) == [b"3"]


async def test_more_input_than_output_partitions_share_by_modulo(kafka: Cluster) -> None:
    topic = kafka.topic("labels", partitions=2)
    async with sink_to(kafka, topic) as sink:
        for partition in range(5):
            at = TopicPartition("texts", partition)
            await sink.deliver(at, outputs(topic, [b"%d" % partition], partition=partition), 1)
    found = {message.value(): message.partition() for message in await in_thread(kafka.read, topic)}
    assert found == {b"0": 0, b"1": 1, b"2": 0, b"3": 1, b"4": 0}


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
async def test_megabytes_in_one_delivery_arrive_in_order(kafka: Cluster, compression: str) -> None:
    topic = kafka.topic("labels")
    async with sink_to(kafka, topic, compression=compression) as sink:
        sent = [b"%06d" % number * 100 for number in range(3000)]
        await sink.deliver(P0, outputs(topic, sent), 3000)
    assert await values(kafka, topic) == sent


async def test_a_topic_that_shrank_is_learned_and_only_the_large_record_refused(
    kafka: Cluster,
) -> None:
    topic = kafka.topic("labels")
    async with sink_to(kafka, topic) as sink:
        await in_thread(kafka.configure, topic, max_message_bytes=3000)
        sent = [b"a" * 500, b"b" * 500, b"x" * 5000, b"c" * 500, b"d" * 2000, b"e" * 2000]
        with pytest.raises(OutputRefusedError) as caught:
            await sink.deliver(P0, outputs(topic, sent), 6)
        assert list(caught.value.refused) == [2]
        assert caught.value.written == {0, 1}
        assert sink.limit_bytes(topic) < 5100
        await sink.deliver(P0, outputs(topic, sent[3:]), 6)
    assert await values(kafka, topic) == [sent[0], sent[1], *sent[3:]]


async def test_a_record_of_the_topics_own_limit_passes_and_one_byte_more_does_not(
    kafka: Cluster,
) -> None:
    topic = kafka.topic("labels", max_message_bytes=4000)
    async with sink_to(kafka, topic) as sink:
        room = sink.limit_bytes(topic) - outputs(topic, [b""])[0].size_bytes
        await sink.deliver(P0, outputs(topic, [b"x" * room]), 1)
        with pytest.raises(OutputRefusedError, match=r"1 output\(s\) refused"):
            await sink.deliver(P0, outputs(topic, [b"x" * (room + 1)]), 2)


async def test_missing_topics_are_named_together(kafka: Cluster) -> None:
    with pytest.raises(ConfigError, match="no-labels, no-review"):
        async with sink_to(kafka, "no-labels", "no-review"):
            pass


async def test_a_delivery_survives_a_broker_restart(own_kafka: LocalCluster) -> None:
    topic = own_kafka.topic("labels")
    async with sink_to(own_kafka, topic, request_timeout_ms=60_000) as sink:
        await sink.deliver(P0, outputs(topic, [b"1"]), 1)
        await in_thread(own_kafka.kill)
        delivery = asyncio.ensure_future(sink.deliver(P0, outputs(topic, [b"2", b"3"]), 3))
        own_kafka.start_node()
        await delivery
        assert await values(own_kafka, topic) == [b"1", b"2", b"3"]


async def test_what_is_given_up_while_the_broker_is_away_never_arrives(
    own_kafka: LocalCluster,
) -> None:
    topic = own_kafka.topic("labels")
    async with sink_to(own_kafka, topic, request_timeout_ms=3000) as sink:
        await in_thread(own_kafka.kill)
        for _ in range(2):  # the second one finds no producer and cannot make one
            with pytest.raises((TimeoutError, BrokerError)) as caught:
                async with asyncio.timeout(5):
                    await sink.deliver(P0, outputs(topic, [b"late"]), 1)
            assert getattr(caught.value, "retriable", True)
        own_kafka.start_node()
        await in_thread(own_kafka.wait_ready)
        await sink.deliver(P0, outputs(topic, [b"again"]), 1)
        assert await values(own_kafka, topic) == [b"again"]
        await in_thread(own_kafka.kill)
        began_s = time.monotonic()
        await sink.stop()
        assert time.monotonic() - began_s < 20
