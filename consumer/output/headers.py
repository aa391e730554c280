"""Which of a record's headers are copied to its outputs, and how many.

Headers that describe the input's value (content type and encoding, a CloudEvent's attributes) would
be wrong for our values, and those of a dead letter would be wrong on a label: these are not copied.
All others are, trace context first.
"""

from collections.abc import Sequence
from typing import Final

from streamlabel.consumer.core.records import Headers

__all__ = [
    "HEADERS_LIMIT_BYTES",
    "HEADERS_LIMIT_ITEMS",
    "OURS",
    "REPLAYS",
    "TASK",
    "bounded",
    "forwarded",
    "replays_of",
]

# A record with thousands of headers is an error of its producer, and must not grow at every
# service.
HEADERS_LIMIT_ITEMS: Final = 64
HEADERS_LIMIT_BYTES: Final = 16 * 1024

OURS: Final = "streamlabel-"  # prefix of every header that we add
TASK: Final = OURS + "task"  # name of the task of an output, in a stream with several
REPLAYS: Final = OURS + "replays"  # how often a dead letter was written back to the input topic

_JSON: Final[Headers] = (("content-type", b"application/json"),)
_ABOUT_THE_VALUE: Final = frozenset({"content-type", "content-encoding"})
_LEFT_BEHIND: Final = ("ce_", OURS)
_TRACE: Final = frozenset({"traceparent", "tracestate", "baggage"})


def forwarded(headers: Headers) -> Headers:
    """Return the headers of a JSON output for a record with ``headers``."""
    return _JSON + bounded([header for header in headers if _travels(header[0].lower())])


def bounded(headers: Sequence[tuple[str, bytes | None]]) -> Headers:
    """Return as many of ``headers`` as the limits allow, in their order, trace context first.

    If some are dropped, a last header ``streamlabel-headers-dropped`` contains their number.
    """
    sizes = [len(name.encode()) + len(value or b"") for name, value in headers]
    if len(headers) <= HEADERS_LIMIT_ITEMS and sum(sizes) <= HEADERS_LIMIT_BYTES:
        return tuple(headers)
    by_rank = sorted(range(len(headers)), key=lambda i: headers[i][0].lower() not in _TRACE)
    kept: set[int] = set()
    room_bytes = HEADERS_LIMIT_BYTES
    for i in by_rank:
        if len(kept) < HEADERS_LIMIT_ITEMS and sizes[i] <= room_bytes:
            kept.add(i)
            room_bytes -= sizes[i]
    dropped = str(len(headers) - len(kept)).encode()
    return (*(headers[i] for i in sorted(kept)), (OURS + "headers-dropped", dropped))


def replays_of(headers: Headers) -> int:
    """Return how often a record was replayed; 0 without a valid header."""
    for name, value in reversed(headers):
        if name == REPLAYS:
            # limited to the digits that we write, because int() takes quadratic time
            return int(value) if value and value.isdigit() and len(value) < 10 else 0
    return 0


def _travels(name: str) -> bool:
    return name not in _ABOUT_THE_VALUE and not name.startswith(_LEFT_BEHIND)
