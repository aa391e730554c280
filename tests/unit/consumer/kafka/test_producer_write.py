"""A batch whose fate nobody asks for, because another failed first, is no error of its own."""

import asyncio
import gc
from typing import TYPE_CHECKING, Any, cast

from aiokafka.errors import ProducerClosed
from aiokafka.producer.message_accumulator import BatchBuilder

from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.core.records import Position
from streamlabel.consumer.kafka.producer import write

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer


class ProducerThatIsThrownAway:
    """Takes a batch, and never delivers it."""

    def __init__(self) -> None:
        self.delivered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def create_batch(self) -> BatchBuilder:
        """An empty one."""
        return BatchBuilder(1000, 0, is_transactional=False)

    async def send_batch(self, *_: object, partition: int) -> "asyncio.Future[Any]":
        """Queue it, as aiokafka does."""
        return asyncio.shield(self.delivered)


async def test_the_future_of_a_batch_may_be_dropped() -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    producer = ProducerThatIsThrownAway()
    outbound = Outbound("labels", None, b"{}", (), Position("texts", 0, 0))
    future = await write(cast("AIOKafkaProducer", producer), [outbound], 0)
    producer.delivered.set_exception(ProducerClosed())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert future.done()
    del future, producer
    gc.collect()
    assert complaints == []
