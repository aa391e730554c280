"""A broker in memory that aiokafka's own producer talks to, request by request.

It keeps what real brokers keep about producers (epochs, numbers of batches, transactions), and
answers to a batch what the test says. In the place of aiokafka's client: no socket, no bytes.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition as KafkaPartition
from aiokafka.record import MemoryRecords

__all__ = ["ProtocolBroker"]

_VERSIONS = {0: (0, 7), 22: (0, 4), 24: (0, 0), 25: (0, 0), 26: (0, 0), 28: (0, 0)}
_FENCED, _OUT_OF_ORDER = 47, 45
_NOT_THE_NEWEST = 90
_NODE = 1


@dataclass(slots=True)
class _Batch:
    producer: tuple[int, int]  # id, epoch
    first: int
    values: list[bytes | None]
    is_transactional: bool
    state: str = "open"  # of its transaction, then "committed" or "aborted"

    @property
    def last(self) -> int:
        return self.first + len(self.values) - 1


@dataclass(slots=True)
class ProtocolBroker:
    """Topics of one partition.

    Attributes:
        answer: code -> what to say to a batch of (key, value), 0: take it.
        writes: whether a batch is written in spite of another answer than 0.
        offset: what was committed with the last transaction.
        batches: Produce requests that came.
    """

    answer: Callable[[str, list[tuple[bytes | None, bytes | None]]], int]
    writes: bool = False
    offset: int = 0
    batches: int = 0
    _logs: dict[KafkaPartition, list[_Batch]] = field(default_factory=dict)
    _epochs: dict[str, tuple[int, int]] = field(default_factory=dict)
    _offsets: dict[tuple[int, int], int] = field(default_factory=dict)
    _ids: int = 0

    def values(self, topic: str) -> list[bytes | None]:
        """What readers of committed records see."""
        log = self._logs.get(KafkaPartition(topic, 0), [])
        return [value for batch in log if batch.state == "committed" for value in batch.values]

    def client(self, **_: object) -> "_Client":
        """In the place of ``AIOKafkaClient``."""
        return _Client(self)

    def reply(self, request: Any) -> Any:  # noqa: ANN401 aiokafka has no types
        """Answer one request of a producer."""
        match request.API_KEY:
            case 0:
                self.batches += 1
                answers = [
                    (topic, [(n, self._produce(KafkaPartition(topic, n), buffer), 0, -1, 0)])
                    for topic, [(n, buffer)] in request.topics
                ]
                return request.RESPONSE_TYPE(answers, 0)
            case 22:
                return request.RESPONSE_TYPE(0, *self._begin(request), *self._tags(request))
            case 24:
                code = self._fence(request)
                errors = [
                    (topic, [(n, code) for n in numbers]) for topic, numbers in request.topics
                ]
                return request.RESPONSE_TYPE(0, errors)
            case 28:
                code = self._fence(request)
                [(topic, [(partition, offset, _)])] = request.topics
                self._offsets[self._epochs[request.transactional_id]] = offset
                return request.RESPONSE_TYPE(0, [(topic, [(partition, code)])])
            case 26:
                code = self._fence(request)
                if code == 0:
                    producer = self._epochs[request.transactional_id]
                    self._end(producer, is_committed=request.transaction_result)
                return request.RESPONSE_TYPE(0, code)
        return request.RESPONSE_TYPE(0, self._fence(request))

    @staticmethod
    def _tags(request: Any) -> tuple[dict[int, bytes], ...]:  # noqa: ANN401 aiokafka has no types
        return ({},) if request.FLEXIBLE_VERSION else ()

    def _fence(self, request: Any) -> int:  # noqa: ANN401 aiokafka has no types
        newest = self._epochs.get(request.transactional_id)
        return 0 if newest == (request.producer_id, request.producer_epoch) else _FENCED

    def _begin(self, request: Any) -> tuple[int, int, int]:  # noqa: ANN401 aiokafka has no types
        newest = self._epochs.get(request.transactional_id) if request.transactional_id else None
        expected = getattr(request, "producer_id", -1), getattr(request, "producer_epoch", -1)
        if expected[0] != -1 and expected != newest:
            return _NOT_THE_NEWEST, -1, -1
        if newest is None:
            self._ids += 1
            newest = self._ids, -1
        else:
            self._end(newest, is_committed=False)
        producer = newest[0], newest[1] + 1
        if request.transactional_id:
            self._epochs[request.transactional_id] = producer
        return 0, *producer

    def _end(self, producer: tuple[int, int], *, is_committed: bool) -> None:
        for log in self._logs.values():
            for batch in log:
                if batch.producer == producer and batch.state == "open":
                    batch.state = "committed" if is_committed else "aborted"
        offset = self._offsets.pop(producer, None)
        if is_committed and offset is not None:
            self.offset = offset

    def _produce(self, place: KafkaPartition, buffer: bytes) -> int:
        records = MemoryRecords(bytes(buffer))
        batch = records.next_batch()
        found = [(record.key, record.value) for record in batch]
        code = self.answer(place.topic, found)
        if code and not self.writes:
            return code
        producer = batch.producer_id, batch.producer_epoch
        is_transactional = batch.is_transactional
        newest = [known for known in self._epochs.values() if known[0] == producer[0]]
        if newest and newest != [producer]:
            return _FENCED
        written = _Batch(producer, batch.base_sequence, [v for _, v in found], is_transactional)
        mine = [each for each in self._logs.get(place, []) if each.producer == producer]
        if mine:
            if any((b.first, b.last) == (written.first, written.last) for b in mine[-5:]):
                return code  # a repetition: answered as the first time, and not written
            if written.first != mine[-1].last + 1:
                return _OUT_OF_ORDER
        elif written.first and any(b.producer[0] == producer[0] for b in self._logs.get(place, [])):
            return _OUT_OF_ORDER  # a new epoch begins with 0
        if not is_transactional:
            written.state = "committed"
        self._logs.setdefault(place, []).append(written)
        return code


class _Metadata:
    """All topics have one partition, on the one node."""

    def partitions_for_topic(self, topic: str) -> set[int]:
        """The one."""
        return {0}

    def leader_for_partition(self, place: KafkaPartition) -> int:
        """The one."""
        return _NODE


class _Client:
    """What aiokafka's producer needs of its client."""

    def __init__(self, broker: ProtocolBroker) -> None:
        self._broker = broker
        self._conns: Mapping[object, Any] = {}
        self._client_id = "test"
        self.cluster = _Metadata()

    async def bootstrap(self) -> None:
        """Connect."""

    async def close(self) -> None:
        """Disconnect."""

    async def send(self, node: int, request: Any, **_: object) -> Any:  # noqa: ANN401 aiokafka has no types
        """Answer in another turn of the loop."""
        await asyncio.sleep(0)
        return self._broker.reply(request.prepare(_VERSIONS))

    async def ready(self, *_: object, **__: object) -> bool:
        """Always."""
        return True

    async def coordinator_lookup(self, *_: object) -> int:
        """The one node."""
        return _NODE

    def get_random_node(self) -> int:
        """The one."""
        return _NODE

    def force_metadata_update(self) -> "asyncio.Future[bool]":
        """Nothing is new."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        done.set_result(True)
        return done

    async def _maybe_wait_metadata(self) -> None: ...

    async def _wait_on_metadata(self, topic: str) -> set[int]:
        return {0}
