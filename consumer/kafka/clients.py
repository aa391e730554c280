"""Starts and stops aiokafka's clients so that a cancellation leaves no connection open.

aiokafka 0.14.0 keeps a connection in a local variable while it waits for the first response of a
broker, and marks a client as closed before it closes anything. A ``start`` or ``stop`` that is
cancelled midway therefore leaks connections that cannot be closed any more. So both run in tasks of
their own, and a caller that is cancelled waits for their end, in bounded time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer

from streamlabel.consumer.kafka.aiokafka_internals.group import client_of

__all__ = ["ask_client", "ends_well", "start_client", "stop_consumer"]

T = TypeVar("T")

_log = structlog.get_logger(__name__)

# A working broker responds within milliseconds. One that does not respond delays a cancellation for
# this long, and leaks a connection.
_SETTLE_S: Final = 1.0
# Limit for cleaning up after that: longer than the limit of ``stop`` itself.
_GIVE_UP_S: Final = 30.0
# Leaving a group takes milliseconds; it never ends while the coordinator is unreachable.
_STOP_TIMEOUT_S: Final = 10.0


async def start_client(
    starting: Coroutine[Any, Any, None], *, stop: Callable[[], Awaitable[Any]]
) -> None:
    """Return when a client has started; stop it first if the start fails or is cancelled.

    Args:
        starting: its ``start()``.
        stop: closes the client, whatever its state; bounded.

    Raises:
        Exception: the error of ``start``.
    """
    attempt = asyncio.ensure_future(starting)
    try:
        await asyncio.wait([attempt])  # cancels nothing when it is cancelled itself
        attempt.result()
    except BaseException:
        await ends_well(_give_up(attempt, stop), timeout_s=_GIVE_UP_S)
        raise


async def ask_client(asking: Coroutine[Any, Any, T], *, stop: Callable[[], Awaitable[Any]]) -> T:
    """Return the result of requests with a client that is stopped afterwards in any case.

    Requests open connections too, so they are not cancelled midway either.

    Args:
        asking: starts the client and sends the requests.
        stop: closes the client, whatever its state; bounded.

    Raises:
        Exception: the error of ``asking``.
    """
    answers: list[T] = []

    async def ask() -> None:
        answers.append(await asking)

    await start_client(ask(), stop=stop)
    await stop()
    return answers[0]


async def _give_up(attempt: "asyncio.Task[None]", stop: Callable[[], Awaitable[Any]]) -> None:
    await ends_well(_outcome_of(attempt), timeout_s=_SETTLE_S)
    await stop()


async def _outcome_of(attempt: "asyncio.Task[None]") -> None:
    await attempt  # cancels it when it is cancelled itself


async def ends_well(stopping: Coroutine[Any, Any, Any], *, timeout_s: float) -> bool:
    """Await a stop that may hang, or raise the CancelledError of one of its own tasks.

    A cancellation of this call does not interrupt the stop: it is raised when the stop has ended or
    ``timeout_s`` has passed.

    Returns:
        Whether it ended in time and without an error. If not, it was cancelled.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(stopping)
    deadline_s = loop.time() + timeout_s
    cancelled: asyncio.CancelledError | None = None
    while not task.done() and (left_s := deadline_s - loop.time()) > 0:
        try:
            await asyncio.wait([task], timeout=left_s)
        except asyncio.CancelledError as error:
            cancelled = error
    if not task.done():
        task.cancel()
        task.add_done_callback(_retrieve_error)
    if cancelled is not None:
        _retrieve_error(task)
        raise cancelled
    return task.done() and not task.cancelled() and task.exception() is None


def _retrieve_error(task: "asyncio.Task[Any]") -> None:
    """Retrieve the error, or asyncio would log that it was never retrieved."""
    if task.done() and not task.cancelled():
        task.exception()


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Leave the group, if there is one, and close all connections, in bounded time.

    With the broker down, ``stop`` of 0.14.0 may hang, or raise the CancelledError of one of its
    tasks and leave its connections open. So the client is closed afterwards.
    """
    if not await ends_well(consumer.stop(), timeout_s=_STOP_TIMEOUT_S):
        _log.warning("consumer_stop_incomplete")
        await ends_well(client_of(consumer).close(), timeout_s=_STOP_TIMEOUT_S)
