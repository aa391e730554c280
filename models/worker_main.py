"""The worker process: owns the device, answers the service over a socket, dies with it.

Started by ``worker_process`` as ``python -m streamlabel.models.worker_main FD``.
"""

import asyncio
import faulthandler
import logging
import os
import signal
import socket
import sys
import threading
import traceback
from types import FrameType
from typing import NoReturn, Protocol, cast, runtime_checkable

import structlog

from streamlabel.errors import (
    DeviceMemoryError,
    InferenceError,
    ModelError,
    StreamlabelError,
)
from streamlabel.models import loading, wire
from streamlabel.models.base import Classifier

__all__ = ["main"]

log = structlog.get_logger("streamlabel.models.worker_main")  # run with -m it is __main__


def main() -> None:
    """Load what the service asks for and answer until it says close or is gone."""
    faulthandler.enable()  # a crash in native code leaves its stack on stderr
    # Whether to stop is the service's decision: a Ctrl-C or a SIGTERM to the whole container
    # reaches the worker too, and would cost the batch that is to be drained. Handlers and not
    # SIG_IGN: that would be inherited by the children of an engine, who end on SIGTERM.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave_it_to_the_service)
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        connection.set_inheritable(False)
        # A forked child of an engine must not hold the connection open when this process dies.
        os.register_at_fork(after_in_child=connection.close)
        try:
            hello = cast("wire.Hello", wire.receive(connection))
        except EOFError:
            return
        (hello.configure_logging or _log_plainly)()
        structlog.contextvars.bind_contextvars(worker_pid=os.getpid())
        asyncio.run(_serve(connection, hello))
    # Native libraries take seconds to tear themselves down; what matters has been closed.
    logging.shutdown()
    os._exit(0)


def _leave_it_to_the_service(_number: int, _frame: FrameType | None) -> None:
    pass


def _log_plainly() -> None:
    line = "%(asctime)s %(levelname)s worker[%(process)d] %(name)s: %(message)s"
    logging.basicConfig(level=logging.INFO, format=line)
    structlog.configure(logger_factory=structlog.stdlib.LoggerFactory())


async def _serve(connection: socket.socket, hello: wire.Hello) -> None:
    loop = asyncio.get_running_loop()
    # Bounded by the service: it limits what it has in flight.
    requests: asyncio.Queue[wire.Request] = asyncio.Queue()

    def listen() -> None:
        while True:
            try:
                request = cast("wire.Request", wire.receive(connection))
            except (EOFError, OSError):
                _die()
            loop.call_soon_threadsafe(requests.put_nowait, request)

    # A thread of its own, from before the model is loaded: that the service is gone must be
    # noticed in the middle of loading and of the longest batch.
    threading.Thread(target=listen, name="listen", daemon=True).start()
    try:
        classifier = await asyncio.to_thread(loading.load, hello.model)
    except StreamlabelError as error:
        _send(connection, error)
        return
    _send(connection, wire.Loaded(classifier.labels, classifier.info, classifier.max_in_flight))
    answering: set[asyncio.Task[None]] = set()
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(_leave_when_lost(classifier))
        while (request := await requests.get())[1] != "close":
            task = group.create_task(_answer(connection, classifier, request))
            answering.add(task)
            task.add_done_callback(answering.discard)
        for task in (watching, *answering):
            task.cancel()
    await classifier.close()


@runtime_checkable
class _HasEngine(Protocol):
    """A classifier whose engine is another process, which may be lost while this one lives."""

    async def lost(self) -> str:
        """Return when the engine is of no more use, and why: a clause."""
        ...


async def _leave_when_lost(classifier: Classifier) -> None:
    """End this process with its engine: the service then starts both again."""
    if isinstance(classifier, _HasEngine):
        why = await classifier.lost()
        log.error("engine_lost", why=f"the engine {why}")
        logging.shutdown()
        os._exit(os.EX_UNAVAILABLE)  # what the engine left is killed with our process group


async def _answer(connection: socket.socket, classifier: Classifier, request: wire.Request) -> None:
    request_id, kind, body = request
    answer: wire.Answer
    try:
        if isinstance(body, wire.PackedPrepared):
            predictions = await classifier.classify(wire.open_prepared(body))
            answer = wire.pack_predictions(predictions)
        else:
            answer = wire.seal_prepared(await classifier.prepare(body or []))
    except StreamlabelError as error:
        answer = error
    except MemoryError:
        answer = DeviceMemoryError("the worker process is out of memory")
    except Exception as error:  # noqa: BLE001 whatever a library raises concerns this batch alone
        answer = _unexpected(error, kind)
    # Blocks this loop until the service has read it; the service always reads.
    _send(connection, (request_id, answer))


def _unexpected(error: Exception, kind: str) -> ModelError:
    # Without the message: libraries put their input into it, and no text may reach the log.
    stack = "".join(traceback.format_tb(error.__traceback__))
    log.error("unexpected_model_error", during=kind, error=type(error).__name__, stack=stack)
    return InferenceError(
        f"the back end raised {type(error).__name__}; the worker's log has the stack"
    )


def _send(connection: socket.socket, message: object) -> None:
    connection.sendall(wire.encode(message))


def _die() -> NoReturn:
    """End at once, with what this process started: nobody is left to want an answer."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main()
