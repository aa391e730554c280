"""The trace context in headers: read exactly, ignored if it is not valid, and written once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.consumer.core.trace_context import (
    TraceContext,
    trace_context,
    trace_id,
    with_context,
)

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADER = f"00-{TRACE}-{SPAN}-01".encode()


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_what_is_written_is_read(trace: int, span: int, is_sampled: bool) -> None:
    context = TraceContext(trace, span, is_sampled)
    assert trace_context((("traceparent", context.header),)) == context


@given(st.binary(max_size=80))
def test_no_bytes_are_an_error(value: bytes) -> None:
    found = trace_context((("traceparent", value),))
    assert found is None or value[3:35] == f"{found.trace:032x}".encode()


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"00-" + b"0" * 32 + f"-{SPAN}-01".encode(),
        f"00-{TRACE}-".encode() + b"0" * 16 + b"-01",
        b"ff" + HEADER[2:],
        HEADER.upper(),
        HEADER[:-1],
        b" " + HEADER,
    ],
)
def test_what_is_not_valid_is_as_good_as_none(value: bytes | None) -> None:
    assert trace_context((("traceparent", value),)) is None
    assert trace_id((("traceparent", value),)) is None


def test_a_later_version_may_have_further_fields() -> None:
    found = trace_context((("traceparent", b"01" + HEADER[2:] + b"-more"),))
    assert found == TraceContext(int(TRACE, 16), int(SPAN, 16), is_sampled=True)


def test_the_last_valid_header_counts_and_the_new_one_replaces_all() -> None:
    headers = (("traceparent", b"bad"), ("a", b"1"), ("traceparent", HEADER), ("traceparent", b"x"))
    context = trace_context(headers)
    assert context is not None
    assert trace_id(headers) == TRACE
    assert with_context(headers, context.header) == (("a", b"1"), ("traceparent", HEADER))
