"""What is asked of aiokafka's fetcher when several topics are read."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka import TopicPartition as KafkaPartition
from aiokafka import errors as kafka_errors

from streamlabel.consumer.kafka.fair_fetch import FairFetch

NONE = KafkaPartition("heavy", 2**31 - 1)
HEAVY = [KafkaPartition("heavy", number) for number in range(8)]
LIGHT = KafkaPartition("light", 0)


@dataclass
class Fetcher:
    """Hands buffered records out as aiokafka does: partition by partition, in buffer order."""

    buffers: dict[KafkaPartition, int] = field(default_factory=dict)
    errors: dict[KafkaPartition, Exception] = field(default_factory=dict)

    async def getmany(
        self, *partitions: KafkaPartition, timeout_ms: int, max_records: int
    ) -> dict[KafkaPartition, list[Any]]:
        """Records, or the error of the first partition that has one."""
        del timeout_ms
        found: dict[KafkaPartition, list[Any]] = {}
        for partition in self.buffers:
            if partition not in partitions or max_records == 0:
                continue
            if partition in self.errors and not found:
                raise self.errors[partition]
            taken = min(max_records, self.buffers[partition])
            self.buffers[partition] -= taken
            max_records -= taken
            if taken:
                found[partition] = [None] * taken
        return found


async def fetch(fair: FairFetch, fetcher: Fetcher, items: int) -> dict[str, int]:
    fetched = await fair.fetch(
        fetcher, [*HEAVY, LIGHT], always=NONE, max_items=items, timeout_ms=200
    )
    counts = {"heavy": 0, "light": 0}
    for partition, records in fetched.items():
        counts[partition.topic] += len(records)
    return counts


@pytest.mark.parametrize(
    ("weights", "counts"),
    [
        ({"heavy": 1, "light": 1}, {"heavy": 50, "light": 50}),
        ({"heavy": 3, "light": 1}, {"heavy": 75, "light": 25}),
    ],
)
async def test_eight_busy_partitions_do_not_outweigh_one(
    weights: dict[str, float], counts: dict[str, int]
) -> None:
    fetcher = Fetcher(dict.fromkeys([*HEAVY, LIGHT], 1000))
    assert await fetch(FairFetch(weights), fetcher, 100) == counts


async def test_what_one_topic_does_not_need_goes_to_the_other() -> None:
    fetcher = Fetcher({**dict.fromkeys(HEAVY, 1000), LIGHT: 10})
    fair = FairFetch({"heavy": 1, "light": 9})
    assert await fetch(fair, fetcher, 100) == {"heavy": 90, "light": 10}


@pytest.mark.parametrize("error", [UnicodeDecodeError("utf-8", b"", 0, 1, "no"), OSError()])
async def test_an_error_of_one_topic_loses_no_record_of_the_other(error: Exception) -> None:
    fetcher = Fetcher({HEAVY[0]: 10, LIGHT: 10}, {LIGHT: error})
    fair = FairFetch({"heavy": 1, "light": 1})
    assert await fetch(fair, fetcher, 10) == {"heavy": 5, "light": 0}
    with pytest.raises(type(error)):  # and not a second later: the topic behind is first in line
        await fetch(fair, fetcher, 10)


async def test_an_error_that_aiokafka_reports_once_is_raised_by_the_next_fetch() -> None:
    refused = kafka_errors.GroupAuthorizationFailedError()
    fetcher = Fetcher({HEAVY[0]: 10, LIGHT: 10}, {LIGHT: refused})
    fair = FairFetch({"heavy": 1, "light": 1})
    assert await fetch(fair, fetcher, 10) == {"heavy": 5, "light": 0}
    fetcher.errors.clear()
    with pytest.raises(kafka_errors.GroupAuthorizationFailedError):
        await fetch(fair, fetcher, 10)
    assert sum((await fetch(fair, fetcher, 10)).values()) == 10
