"""The wire format between the service and its worker process: a length and a pickle.

Pickle is safe here, and only here, because both ends are the same program, connected by a socket
pair that no other process can open. Imports the standard library only: see ``early_process``.
"""

import pickle
import socket
import struct
from typing import Final

__all__ = ["HEADER", "decode", "encode", "receive"]

HEADER: Final = struct.Struct("!Q")
_PROTOCOL: Final = 5


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
