"""What the source asks of aiokafka, where asking the wrong thing waits for ever."""

import asyncio
from typing import Any

import pytest
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.errors import KafkaError

from streamlabel.config.kafka import InputSettings, KafkaSettings
from streamlabel.consumer.core.records import TopicPartition
from streamlabel.consumer.kafka.source import KafkaSource
from streamlabel.errors import BrokerError
from streamlabel.models.core.system_clock import SystemClock

P0 = KafkaPartition("texts", 0)


class Fetcher:
    """The part of aiokafka that reads in the background."""

    def __init__(self) -> None:
        self.error_future: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class ConsumerInARebalance:
    """Loses its partition and gets it back, without a position, while a fetch waits.

    As aiokafka does, ``position`` waits until somebody seeks: for ever, if that is the caller.
    """

    def __init__(self, source: KafkaSource) -> None:
        self._source = source
        self._sought = asyncio.Event()
        self._fetcher = Fetcher()

    def assignment(self) -> set[KafkaPartition]:
        """Ours before and after."""
        return {P0}

    def seek(self, _partition: KafkaPartition, _offset: int) -> None:
        """Now there is a position."""
        self._sought.set()

    def resume(self, _partition: KafkaPartition) -> None:
        """Nothing to do."""

    async def getmany(self, *_partitions: KafkaPartition, **_: object) -> dict[Any, Any]:
        """No records, but a whole rebalance meanwhile."""
        self._source._fetch_state.disown(P0)
        self._source._fetch_state.own(P0)
        self._sought.clear()
        return {}

    def highwater(self, _partition: KafkaPartition) -> int:
        """Forty records of a transaction that is still open, behind ten that can be read."""
        return 50

    def last_stable_offset(self, _partition: KafkaPartition) -> int:
        """The end of those that can be read."""
        return 10

    async def position(self, _partition: KafkaPartition) -> int:
        """Waits like aiokafka."""
        await self._sought.wait()
        return 0


async def test_a_rebalance_during_a_fetch_does_not_hold_up_the_poll() -> None:
    """Only the next poll seeks: this one must not wait for the position of the new assignment."""
    source = KafkaSource(KafkaSettings(), InputSettings(), SystemClock(), revoke_timeout_s=5)
    consumer = ConsumerInARebalance(source)
    source._consumer = consumer  # a double of a class without interface
    source._fetch_state.own(P0)
    source._fetch_state.admit(P0, source._fetch_state.epoch(P0), 0)
    async with asyncio.timeout(5):
        assert await source.poll(max_items=10, timeout_s=0.1) == []


async def test_a_fetcher_that_died_is_an_error_and_not_an_idle_topic() -> None:
    source = KafkaSource(KafkaSettings(), InputSettings(), SystemClock(), revoke_timeout_s=5)
    consumer = ConsumerInARebalance(source)
    source._consumer = consumer
    consumer._fetcher.error_future.set_exception(KafkaError("unexpected"))
    with pytest.raises(BrokerError, match="fetcher has ended"):
        await source.poll(max_items=10, timeout_s=0.1)
    consumer._fetcher.error_future.exception()


async def test_records_of_an_open_transaction_are_no_lag() -> None:
    """They cannot be read: a probe that took them for work would restart a healthy service."""
    source = KafkaSource(KafkaSettings(), InputSettings(), SystemClock(), revoke_timeout_s=5)
    source._consumer = ConsumerInARebalance(source)
    source._fetch_state.own(P0)
    source._fetch_state.admit(P0, source._fetch_state.epoch(P0), 8)
    source._seek_admitted()
    assert source.lag() == {TopicPartition("texts", 0): 2}
