"""What a driver that cannot write does not hide."""

import pytest
from confluent_kafka import KafkaError, KafkaException

from testing.chaos.driver import Driver, Load
from testing.kafka_broker import wait_until


class Recorded:
    """A producer that takes nothing: with an error that is fatal, or one of another kind."""

    def __init__(self, *, fatal: bool) -> None:
        self.values: list[bytes | None] = []
        self._fatal = fatal

    def produce(self, _: str, *, value: bytes | None, **__: object) -> None:
        """Refuse it."""
        raise KafkaException(KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, fatal=self._fatal))

    def poll(self, _: float) -> int:
        """Nothing to tell."""
        return 0

    def flush(self, _: float) -> int:
        """Nothing is left."""
        return 0

    def __len__(self) -> int:
        return 0


class Taking(Recorded):
    """One that takes every record, and acknowledges none."""

    def produce(self, _: str, *, value: bytes | None, **__: object) -> None:
        """Take it."""
        self.values.append(value)


def driver(monkeypatch: pytest.MonkeyPatch, *producers: Recorded) -> Driver:
    left = list(producers)
    monkeypatch.setattr(Driver, "_new_producer", lambda _: left.pop(0))
    return Driver("", "texts", partitions=1, load=Load(), seed=1, outcomes=lambda: 0)


def test_a_driver_whose_thread_ends_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = driver(monkeypatch, Recorded(fatal=False))
    stopped.start()
    wait_until(lambda: stopped.is_done, what="the thread ends")
    with pytest.raises(TimeoutError, match="OUT_OF_ORDER_SEQUENCE_NUMBER"):
        stopped.stop()


def test_a_driver_goes_on_with_another_producer_after_a_gap_in_the_sequence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taking = Taking(fatal=False)
    going = driver(monkeypatch, Recorded(fatal=True), taking)
    going.start()
    wait_until(lambda: len(taking.values) > 2, what="records are written")
    going.stop()
    assert going.acked == []
    assert set(taking.values) == set(going.made)
