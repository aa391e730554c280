"""A backlog: written as fast as possible, and observed on the broker until it is drained."""

import time
from collections.abc import Iterable, Sequence

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import OffsetSpec

from testing.kafka_broker import Cluster, wait_until

__all__ = ["Ends", "ends", "fill", "wait_for", "written"]

Ends = dict[tuple[str, int], int]  # partition -> next offset

_LIMIT_S = 900.0


def fill(cluster: Cluster, topic: str, values: Iterable[bytes], *, partitions: int) -> int:
    """Write the values to the partitions in turn; return their number."""
    producer = Producer(
        {"bootstrap.servers": cluster.bootstrap, "linger.ms": 20, "batch.size": 500_000}
    )
    count = 0
    for count, value in enumerate(values, start=1):
        producer.produce(topic, value, partition=(count - 1) % partitions)
        if count % 1000 == 0:
            producer.poll(0)
            while len(producer) > 50_000:
                producer.poll(0.05)
    producer.flush()
    return count


def ends(cluster: Cluster, topics: Sequence[str]) -> Ends:
    """Return the current end offset of every partition of these topics."""
    admin = cluster.admin()
    known = admin.list_topics(timeout=30).topics
    asked = {
        TopicPartition(topic, partition): OffsetSpec.latest()
        for topic in topics
        for partition in known[topic].partitions
    }
    answers = admin.list_offsets(asked)
    return {(each.topic, each.partition): answers[each].result(30).offset for each in answers}


def wait_for(cluster: Cluster, before: Ends, *, records: int) -> None:
    """Wait until ``records`` records have been written after ``before``."""
    topics = sorted({topic for topic, _ in before})

    def is_drained() -> bool:
        return sum(ends(cluster, topics).values()) - sum(before.values()) >= records

    wait_until(is_drained, what=f"{records} outputs", timeout_s=_LIMIT_S, every_s=0.5)


def written(cluster: Cluster, before: Ends, *, records: int) -> list[tuple[float, int]]:
    """Return timestamp (epoch seconds) and size (bytes) of the values after ``before``, sorted."""
    reader = Consumer(
        {
            "bootstrap.servers": cluster.bootstrap,
            "group.id": "never joined",
            "enable.auto.commit": False,
        }
    )
    reader.assign([TopicPartition(*partition, offset) for partition, offset in before.items()])
    found: list[tuple[float, int]] = []
    deadline_s = time.monotonic() + _LIMIT_S
    while len(found) < records and time.monotonic() < deadline_s:
        for message in reader.consume(2000, 0.5):
            if message.error() is not None:
                raise SystemExit(str(message.error()))
            found.append((message.timestamp()[1] / 1000, len(message.value() or b"")))
    reader.close()
    return sorted(found)
