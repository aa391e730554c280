"""Private parts of aiokafka's consumer: its client, its coordinator, its fetcher."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, Protocol

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.structs import OffsetAndMetadata

__all__ = [
    "Coordinator",
    "Send",
    "around_requests",
    "ask_coordinator",
    "client_of",
    "coordinator_id",
    "coordinator_of",
    "fetcher_has_ended",
    "is_member",
    "no_partition",
    "request_rejoin",
    "send_heartbeat",
    "sticky_assignor",
    "store_for_others",
]

Send = Callable[[object], Awaitable[Any]]

_NO_PARTITION: Final = 2**31 - 1  # the largest Int32: no topic has so many partitions


class Coordinator(Protocol):
    """The members of ``GroupCoordinator`` that we use; a consumer has one after ``start``."""

    async def ensure_coordinator_known(self) -> None:
        """Return when the coordinator's broker is known."""

    def coordinator_dead(self) -> None:
        """Look for another broker before the next request."""


def client_of(consumer: AIOKafkaConsumer) -> AIOKafkaClient:
    """Return the client that a consumer sends its requests with.

    Works around: a consumer offers neither requests of our own (topic ids, the end of a partition
    with open transactions) nor a way to close the connections that a hanging ``stop`` has left
    open. The producer's client is public. Seen in aiokafka 0.14.0.
    """
    return consumer._client


def coordinator_of(consumer: AIOKafkaConsumer) -> Coordinator:
    """Return the part of a started consumer that talks to the group's coordinator.

    Works around: no public access to it; the functions below need it. Seen in aiokafka 0.14.0.
    """
    coordinator: Coordinator = consumer._coordinator
    return coordinator


def coordinator_id(consumer: AIOKafkaConsumer) -> int | None:
    """Return the node of the group's coordinator, None while it is not known.

    Works around: no public way to ask whether the coordinator is known. ``_coordinator`` is None
    before ``start``. Seen in aiokafka 0.14.0.
    """
    node: int | None = getattr(consumer._coordinator, "coordinator_id", None)
    return node


def is_member(consumer: AIOKafkaConsumer) -> bool:
    """Return whether this consumer has a member id that is still valid in the group.

    Works around: a consumer that is no longer a member is not informed; aiokafka drops the id and
    joins again. Seen in aiokafka 0.14.0.
    """
    return bool(consumer._coordinator.member_id)


def request_rejoin(consumer: AIOKafkaConsumer) -> None:
    """Let the member join its group again, which revokes all its partitions first.

    Works around: aiokafka rejoins by itself when the number of partitions changes, but not when a
    topic was deleted and created again with the same number. Seen in aiokafka 0.14.0.
    """
    consumer._coordinator.request_rejoin()


def around_requests(coordinator: Any, exchange: Callable[[Send, object], Awaitable[Any]]) -> None:
    """Wrap all later requests to the coordinator, including heartbeats, in ``exchange``.

    Works around: a consumer does not report when a heartbeat was answered, so it is not known until
    when its partitions are certainly its own. Seen in aiokafka 0.14.0.

    Args:
        coordinator: from ``coordinator_of``.
        exchange: called with the sending function and the request; returns the response.
    """
    coordinator._send_req = partial(exchange, coordinator._send_req)


def send_heartbeat(coordinator: Any) -> Awaitable[bool]:
    """Send a heartbeat now, and react to its response: look for the coordinator, or rejoin.

    Works around: heartbeats are sent on a timer only. Seen in aiokafka 0.14.0.
    """
    answered: Awaitable[bool] = coordinator._do_heartbeat()
    return answered


def ask_coordinator(coordinator: Any, request: object) -> Awaitable[Any]:
    """Send a request to the group's coordinator.

    Works around: ``committed`` returns None also while the coordinator moves or loads, because it
    ignores the error of the whole response. Seen in aiokafka 0.14.0.
    """
    answer: Awaitable[Any] = coordinator._send_req(request)
    return answer


def store_for_others(
    coordinator: Any, offsets: Mapping[KafkaPartition, OffsetAndMetadata]
) -> Awaitable[None]:
    """Commit offsets as this member, also for partitions that are assigned to others.

    Works around: ``commit`` refuses partitions that are not assigned to this member. None is passed
    as the assignment, which this method does not use. Seen in aiokafka 0.14.0.
    """
    stored: Awaitable[None] = coordinator._do_commit_offsets(None, offsets)
    return stored


def fetcher_has_ended(consumer: AIOKafkaConsumer) -> bool:
    """Return whether the task that reads in the background has ended.

    Works around: after that ``getmany`` always returns nothing, without an error. The "future" is
    the task itself. Seen in aiokafka 0.14.0.
    """
    return bool(consumer._fetcher.error_future.done())


def no_partition(topic: str) -> KafkaPartition:
    """Return a partition that the topic does not have, to be passed to every ``getmany``.

    Works around: errors are reported by ``getmany`` only, and without an argument it returns
    records of all partitions, also of those that may not be read yet. Seen in aiokafka 0.14.0.
    """
    return KafkaPartition(topic, _NO_PARTITION)


def sticky_assignor() -> type[StickyPartitionAssignor]:
    """Return an assignor that remembers the partitions of this member.

    Works around: the assignor stores these in its class, so that two consumers of one process would
    report each other's partitions to the group. Seen in aiokafka 0.14.0.
    """
    return type("Sticky", (StickyPartitionAssignor,), {})
