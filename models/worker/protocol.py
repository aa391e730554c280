"""The messages between the service and its worker process, and their wire format.

A frame is eight bytes of length and a pickle. Pickle is safe here, and only here, because both ends
are the same program, connected by a socket pair that no other process can open.

Batches are sent as columns (``packing``).
"""

import pickle
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from streamlabel.config.model import ModelSettings
from streamlabel.errors import StreamlabelError
from streamlabel.models.core.classifier import BatchHints, ModelIdentity
from streamlabel.models.core.joint import Head
from streamlabel.models.core.labels import LabelSet
from streamlabel.models.devices.device_memory import DeviceMemory
from streamlabel.models.worker.packing import PackedPredictions, PackedPrepared

__all__ = [
    "HEADER",
    "Answer",
    "Body",
    "Farewell",
    "Hello",
    "Kind",
    "Loaded",
    "Reply",
    "Request",
    "decode",
    "encode",
    "receive",
]

HEADER: Final = struct.Struct("!Q")
_PROTOCOL: Final = 5


@dataclass(frozen=True, slots=True)
class Hello:
    """The first frame, to the worker: the model to load. Not in arguments: it may have secrets.

    Attributes:
        configure_logging: called first in the worker; picklable. None: plain lines on stderr.
    """

    model: ModelSettings
    configure_logging: Callable[[], None] | None = None
    others: tuple[ModelSettings, ...] = ()  # computed with it


@dataclass(frozen=True, slots=True)
class Loaded:
    """The reply to Hello when the model is loaded; a StreamlabelError is sent if that fails."""

    labels: LabelSet
    identity: ModelIdentity
    hints: BatchHints
    heads: tuple[Head, ...] = ()  # of a joint classifier


@dataclass(frozen=True, slots=True)
class Farewell:
    """The last frame of a worker that ends because it can no longer serve requests.

    Attributes:
        why: a clause, such as "lost its device cuda:0".
        device_lost: the device context is lost.
    """

    why: str
    device_lost: bool = False


Body = list[str] | PackedPrepared | None
Kind = Literal["prepare", "classify", "ping", "memory", "close"]
Request = tuple[int, Kind, Body]
Answer = PackedPrepared | PackedPredictions | DeviceMemory | None | StreamlabelError
Reply = tuple[int, Answer]


def encode(message: object) -> bytes:
    """Return the frame of a message."""
    body = pickle.dumps(message, _PROTOCOL)
    return HEADER.pack(len(body)) + body


def decode(body: bytes | bytearray) -> object:
    """Return the message of a frame without its header."""
    message: object = pickle.loads(body)  # noqa: S301 both ends are the same program
    return message


def receive(connection: socket.socket) -> object:
    """Wait for the next frame on a blocking socket and return its message.

    Raises:
        EOFError: the other side has closed the connection.
    """
    (length,) = HEADER.unpack(_receive_exactly(connection, HEADER.size))
    return decode(_receive_exactly(connection, length))


def _receive_exactly(connection: socket.socket, length: int) -> bytearray:
    frame = bytearray(length)
    view = memoryview(frame)
    while view:
        received = connection.recv_into(view)
        if not received:
            raise EOFError
        view = view[received:]
    return frame
