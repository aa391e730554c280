"""The W3C trace context in the headers of records. Pure, and without OpenTelemetry.

A header that is not valid is as good as none: tracing must not cost a record.
"""

import re
from typing import Final, NamedTuple

from streamlabel.consumer.core.records import Headers

__all__ = ["TraceContext", "trace_context", "trace_id", "with_context"]

_NAME: Final = "traceparent"
# Version 00; later versions may append further fields. All zeros are invalid as ids.
_FORM: Final = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?"
)


class TraceContext(NamedTuple):
    """Which span a record came out of.

    Attributes:
        trace: id of the trace, 128 bits.
        span: id of the span, 64 bits.
        is_sampled: whether the spans before were recorded.
    """

    trace: int
    span: int
    is_sampled: bool

    @property
    def header(self) -> bytes:
        """Return the value of the header."""
        return f"00-{self.trace:032x}-{self.span:016x}-{int(self.is_sampled):02x}".encode()


def trace_context(headers: Headers) -> TraceContext | None:
    """Return the trace context of a record; None without a valid one. The last one counts."""
    for name, value in reversed(headers):
        if name == _NAME and value is not None and (found := _FORM.fullmatch(value)):
            is_sampled = bool(int(found[3], 16) & 1)
            return TraceContext(int(found[1], 16), int(found[2], 16), is_sampled)
    return None


def trace_id(headers: Headers) -> str | None:
    """Return the id of a record's trace as log lines show it; None without one."""
    context = trace_context(headers)
    return None if context is None else f"{context.trace:032x}"


def with_context(headers: Headers, header: bytes) -> Headers:
    """Return the headers with this trace context, as a header, in place of any other."""
    return (*[each for each in headers if each[0] != _NAME], (_NAME, header))
