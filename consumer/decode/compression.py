"""Decompresses values, never to more than a limit. Pure."""

import zlib
from collections.abc import Callable
from typing import Final

import cramjam

from streamlabel.consumer.core.records import Headers
from streamlabel.errors import DecodeError

__all__ = ["Decompress", "by_header", "decompressed"]

# value, headers -> value
Decompress = Callable[[bytes, Headers], bytes]

_WINDOW_BITS: Final = {"gzip": 31, "zlib": 15}
_KNOWN: Final = frozenset({"gzip", "x-gzip", "zstd", "identity", ""})
# The first part of a value that is decompressed to find out whether there is more.
_FIRST_BYTES: Final = 64 * 1024


def by_header(max_bytes: int) -> Decompress:
    """Return a function that decompresses a value as its header ``content-encoding`` says.

    It raises ``DecodeError`` (``bad_compression``) as ``decompressed`` does, and for an encoding
    that it does not know. A value without the header is returned unchanged.

    Args:
        max_bytes: maximum size of a decompressed value.
    """

    def decompress(value: bytes, headers: Headers) -> bytes:
        encoding = ""
        for name, header in headers:  # the last one counts
            if name.lower() == "content-encoding":
                encoding = (header or b"").decode("latin-1").strip().lower()
        if encoding not in _KNOWN:
            raise DecodeError(
                "bad_compression", "content-encoding is neither gzip, zstd nor identity"
            )
        if encoding in {"", "identity"}:
            return value
        return decompressed(value, encoding.removeprefix("x-"), max_bytes=max_bytes)

    return decompress


def decompressed(value: bytes, encoding: str, *, max_bytes: int) -> bytes:
    """Return a value without its compression.

    Args:
        value: compressed.
        encoding: ``gzip``, ``zlib`` or ``zstd``.
        max_bytes: maximum size of the result; what is beyond it is not decompressed.

    Raises:
        DecodeError: ``bad_compression``: not compressed like this, cut off, followed by something
            else, or larger than ``max_bytes``.
    """
    if encoding == "zstd":
        return _zstd(value, max_bytes)
    return _deflated(value, encoding, max_bytes)


def _deflated(value: bytes, encoding: str, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    room_bytes, rest = max_bytes, value
    while rest or not parts:
        reader = zlib.decompressobj(wbits=_WINDOW_BITS[encoding])
        try:
            part = reader.decompress(rest, room_bytes + 1)
        except zlib.error:
            part, is_broken = b"", True
        else:
            is_broken = not reader.eof and len(part) <= room_bytes
        # Raised outside the handler, because the caught error would add nothing.
        if is_broken:
            raise DecodeError("bad_compression", f"not {encoding}, as declared, or cut off")
        if len(part) > room_bytes:
            raise _too_large(max_bytes)
        parts.append(part)
        room_bytes -= len(part)
        if encoding == "zlib" and reader.unused_data:
            raise DecodeError("bad_compression", "bytes follow the compressed value")
        rest = reader.unused_data  # gzip: another member
    return b"".join(parts)


def _zstd(value: bytes, max_bytes: int) -> bytes:
    for size_bytes in sorted({min(_FIRST_BYTES, max_bytes), max_bytes}):
        buffer = bytearray(size_bytes)
        try:
            written = cramjam.zstd.decompress_into(value, buffer)
        except cramjam.DecompressionError as error:
            is_full = "whole buffer" in str(error)
        else:
            return bytes(buffer[:written])
        if not is_full:
            raise DecodeError("bad_compression", "not zstd, as declared, or cut off")
    raise _too_large(max_bytes)


def _too_large(max_bytes: int) -> DecodeError:
    return DecodeError(
        "bad_compression", f"more than {max_bytes} bytes when decompressed (input.max_value_bytes)"
    )
