"""The order of outputs while the sink learns how large a batch the topic takes."""

from collections.abc import Callable, Sequence

import pytest
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    NotLeaderForPartitionError,
    TopicAuthorizationFailedError,
)

from streamlabel.config.kafka import KafkaSettings
from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.core.records import Position, TopicPartition
from streamlabel.consumer.kafka import sink as kafka_sink
from streamlabel.consumer.kafka.sink import KafkaSink
from streamlabel.errors import BrokerError, OutputRefusedError, PartlyDeliveredError

TAKES_BYTES = 100_000  # of one batch; the sink is not allowed to read it
P0 = TopicPartition("texts", 0)

Answer = Callable[[Sequence[Outbound]], KafkaError | None]


class Broker:
    """Writers that answer as the test says; in the place of the module's ``Writer``."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.written: list[Outbound] = []
        self.opened = 0
        self.closed = 0

    def open(self, *_: object, **__: object) -> "OneWriter":
        """Return a new one."""
        self.opened += 1
        return OneWriter(self)


class OneWriter:
    """Ends with its first error, as the real one does."""

    def __init__(self, broker: Broker) -> None:
        self.users = 0
        self.is_retired = False
        self._broker = broker

    async def write(self, batch: Sequence[Outbound], source_partition: int) -> None:
        """Ask the test."""
        error = self._broker.answer(batch)
        if error is not None:
            self.is_retired = True
            raise error
        self._broker.written += batch

    async def close(self) -> None:
        """Note it."""
        self._broker.closed += 1


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], tuple[KafkaSink, Broker]]:
    async def start(*_: object, **__: object) -> None:
        return None

    def open_sink(answer: Answer) -> tuple[KafkaSink, Broker]:
        broker = Broker(answer)
        monkeypatch.setattr(kafka_sink, "start_producer", start)
        monkeypatch.setattr(kafka_sink, "Writer", broker.open)
        return KafkaSink(KafkaSettings(), ["labels", "review"]), broker

    return open_sink


Opened = Callable[[Answer], tuple[KafkaSink, Broker]]


def outputs(count: int, *, topic: str = "labels", size: int = 20_000) -> list[Outbound]:
    return [
        Outbound(topic, None, b"%03d" % n + b"x" * size, (), Position("texts", 0, n))
        for n in range(count)
    ]


def numbers(written: Sequence[Outbound], topic: str = "labels") -> list[int]:
    return [each.position.offset for each in written if each.topic == topic]


def refuse_large(batch: Sequence[Outbound]) -> KafkaError | None:
    size = sum(each.size_bytes for each in batch)
    return MessageSizeTooLargeError() if size > TAKES_BYTES else None


async def test_a_batch_that_is_refused_is_not_overtaken_by_the_next(opened: Opened) -> None:
    """A producer without a past has no numbering that would make the broker refuse the next."""
    sink, broker = opened(refuse_large)
    await sink.deliver(P0, outputs(30), 30)
    assert numbers(broker.written) == list(range(30))
    assert broker.opened == broker.closed + 1  # the one that failed is closed


async def test_what_is_written_before_and_beside_a_refused_output_is_named(opened: Opened) -> None:
    sink, broker = opened(refuse_large)
    mixed = outputs(6)
    mixed[3] = Outbound("labels", None, b"x" * 200_000, (), Position("texts", 0, 3))
    mixed += outputs(2, topic="review")
    with pytest.raises(OutputRefusedError) as caught:
        await sink.deliver(P0, mixed, 8)
    assert set(caught.value.refused) == {3}
    assert caught.value.written == {0, 1, 2, 6, 7}
    assert numbers(broker.written) == [0, 1, 2]


async def test_a_failure_names_what_is_acknowledged_and_only_the_rest_is_repeated(
    opened: Opened,
) -> None:
    failing = iter([None, NotLeaderForPartitionError(), None, None, None])
    sink, broker = opened(lambda _: next(failing))
    sent = outputs(30)
    with pytest.raises(PartlyDeliveredError) as caught:
        await sink.deliver(P0, sent, 30)
    written = caught.value.written
    assert caught.value.retriable
    assert 0 < len(written) < 30
    assert numbers(broker.written) == sorted(written)
    await sink.deliver(P0, [sent[n] for n in range(30) if n not in written], 30)
    assert numbers(broker.written) == list(range(30))


async def test_a_topic_that_fails_leaves_the_others_written(opened: Opened) -> None:
    def answer(batch: Sequence[Outbound]) -> KafkaError | None:
        return NotLeaderForPartitionError() if batch[0].topic == "review" else None

    sink, broker = opened(answer)
    with pytest.raises(PartlyDeliveredError) as caught:
        await sink.deliver(P0, [*outputs(2, topic="review"), *outputs(2)], 4)
    assert caught.value.written == {2, 3}
    assert numbers(broker.written) == [0, 1]


async def test_a_denied_topic_is_no_retry_and_names_the_right(opened: Opened) -> None:
    sink, _ = opened(lambda _: TopicAuthorizationFailedError("labels"))
    with pytest.raises(BrokerError, match="grant this user Write on the topic labels") as caught:
        await sink.deliver(P0, outputs(1), 1)
    assert not caught.value.retriable
