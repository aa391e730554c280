"""The worker process: owns the device, serves requests over a socket, ends with the service.

Started by ``process`` as ``python -m streamlabel.models.worker.process_main FD``.
"""

import asyncio
import faulthandler
import gc
import logging
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from types import FrameType
from typing import NoReturn, Protocol, cast, runtime_checkable

import structlog

from streamlabel.errors import (
    DeviceLostError,
    DeviceMemoryError,
    InferenceError,
    ModelError,
    StreamlabelError,
    WorkerError,
    WorkerGaveUpError,
)
from streamlabel.models import registry
from streamlabel.models.core.classifier import Classifier
from streamlabel.models.core.joint import Joint
from streamlabel.models.devices.device_faults import cause, fault
from streamlabel.models.devices.device_memory import device_memory
from streamlabel.models.devices.torch_import import no_autoload
from streamlabel.models.worker import frames, packing, protocol
from streamlabel.models.worker.early_process import Imports

__all__ = ["main"]

log = structlog.get_logger("streamlabel.models.worker.process_main")  # -m changes __name__


def main() -> None:
    """Load the model and serve requests until the service closes the worker or ends."""
    faulthandler.enable()  # a crash in native code prints its stack to stderr
    no_autoload()
    # The service decides when to stop: a Ctrl-C or a SIGTERM to the whole container also reaches
    # the worker, and would lose the batch that the service drains. Handlers instead of SIG_IGN,
    # because the child processes of an engine would inherit SIG_IGN, and they must end on SIGTERM.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave_it_to_the_service)
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        connection.set_inheritable(False)
        # A forked child of an engine must not keep the connection open when this process ends.
        os.register_at_fork(after_in_child=connection.close)
        try:
            first = frames.receive(connection)
            imports: Future[None] = Future()
            if isinstance(first, Imports):
                _configure(first.configure_logging)
                _import_beside(first.backend, imports)
                hello = cast("protocol.Hello", frames.receive(connection))
            else:
                imports.set_result(None)
                hello = cast("protocol.Hello", first)
                _configure(hello.configure_logging)
        except EOFError:
            os._exit(0)  # not by returning, because a thread may be importing
        asyncio.run(_serve(connection, hello, imports))
    # Native libraries take seconds for their own clean-up; everything important has been closed.
    logging.shutdown()
    os._exit(0)


def _configure(configure_logging: Callable[[], None] | None) -> None:
    (configure_logging or _log_plainly)()
    structlog.contextvars.bind_contextvars(worker_pid=os.getpid())


def _import_beside(backend: str, done: Future[None]) -> None:
    """Import the libraries of a back end in a thread, so that the end of the service is noticed."""

    def import_all() -> None:
        gc.disable()  # imports create nothing that is garbage; it took a twentieth of their time
        try:
            registry.import_early(backend)
        except Exception as error:  # noqa: BLE001 libraries raise anything; reported by the load
            done.set_exception(error)
        else:
            done.set_result(None)
        finally:
            gc.enable()

    threading.Thread(target=import_all, name="import", daemon=True).start()


def _leave_it_to_the_service(_number: int, _frame: FrameType | None) -> None:
    pass


def _log_plainly() -> None:
    line = "%(asctime)s %(levelname)s worker[%(process)d] %(name)s: %(message)s"
    logging.basicConfig(level=logging.INFO, format=line)
    structlog.configure(logger_factory=structlog.stdlib.LoggerFactory())


async def _serve(connection: socket.socket, hello: protocol.Hello, imports: Future[None]) -> None:
    loop = asyncio.get_running_loop()
    # Bounded by the service, which limits the batches in flight.
    requests: asyncio.Queue[protocol.Request] = asyncio.Queue()

    def listen() -> None:
        while True:
            try:
                request = cast("protocol.Request", frames.receive(connection))
            except (EOFError, OSError):
                _die()
            loop.call_soon_threadsafe(requests.put_nowait, request)

    # A separate thread, started before the model is loaded: the end of the service must be noticed
    # while the model is loading and during a long batch.
    threading.Thread(target=listen, name="listen", daemon=True).start()
    try:
        classifier = await asyncio.to_thread(
            registry.load, hello.model, hello.others, imported=imports.result
        )
    except StreamlabelError as error:
        _send(connection, error)
        return
    gc.freeze()  # what imports and the model created is no garbage
    heads = classifier.heads if isinstance(classifier, Joint) else ()
    loaded = protocol.Loaded(classifier.labels, classifier.identity, classifier.hints, heads)
    _send(connection, loaded)
    answering: set[asyncio.Task[None]] = set()
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(_leave_when_lost(connection, classifier))
        while (request := await requests.get())[1] != "close":
            task = group.create_task(_answer(connection, classifier, request))
            answering.add(task)
            task.add_done_callback(answering.discard)
        for task in (watching, *answering):
            task.cancel()
    await classifier.close()


@runtime_checkable
class _HasEngine(Protocol):
    """A classifier whose engine is another process, which may be lost while this one runs."""

    async def lost(self) -> str:
        """Wait until the engine is lost, and return the reason as a clause."""
        ...


async def _leave_when_lost(connection: socket.socket, classifier: Classifier) -> None:
    """End this process when its engine is lost; the service then restarts both."""
    if isinstance(classifier, _HasEngine):
        why = await classifier.lost()
        _leave(connection, protocol.Farewell(f"ended because its engine {why}"))


def _leave(connection: socket.socket, farewell: protocol.Farewell) -> NoReturn:
    """End this process, which cannot serve further requests; the service starts another one."""
    log.error("worker_leaves", why=farewell.why)
    _send(connection, farewell)
    logging.shutdown()
    os._exit(os.EX_UNAVAILABLE)  # the kill of our process group ends what an engine left


async def _answer(
    connection: socket.socket, classifier: Classifier, request: protocol.Request
) -> None:
    request_id, kind, body = request
    answer: protocol.Answer
    try:
        answer = await _asked(classifier, kind, body)
    except WorkerGaveUpError as error:
        answer = error
    except WorkerError as error:
        lost = isinstance(error, DeviceLostError)
        _leave(connection, protocol.Farewell(str(error) if lost else f"ended: {error}", lost))
    except StreamlabelError as error:
        answer = error
    except MemoryError:
        answer = DeviceMemoryError("the worker process is out of memory")
    except Exception as error:  # noqa: BLE001 whatever a library raises concerns this batch alone
        if fault(error) == "device":
            _leave(
                connection, protocol.Farewell(f"lost its device: {cause(error)}", device_lost=True)
            )
        answer = _unexpected(error, kind)
    # Blocks this loop until the service has read the frame; the service always reads.
    _send(connection, (request_id, answer))


async def _asked(classifier: Classifier, kind: str, body: protocol.Body) -> protocol.Answer:
    if kind == "ping":
        return None
    if kind == "memory":
        return await asyncio.to_thread(device_memory, classifier.identity.device)
    if isinstance(body, packing.PackedPrepared):
        return packing.pack_predictions(await classifier.classify(packing.open_prepared(body)))
    return packing.seal_prepared(await classifier.prepare(body or []))


def _unexpected(error: Exception, kind: str) -> ModelError:
    # Without the message, in which libraries quote their input: no text may reach the log.
    stack = "".join(traceback.format_tb(error.__traceback__))
    log.error("unexpected_model_error", during=kind, error=cause(error), stack=stack)
    if fault(error) == "memory":
        return DeviceMemoryError("the device is out of memory")
    return InferenceError(f"the back end raised {cause(error)}; the worker's log has the stack")


def _send(connection: socket.socket, message: object) -> None:
    connection.sendall(frames.encode(message))


def _die() -> NoReturn:
    """End immediately with all child processes: no service is left to receive a reply."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main()
