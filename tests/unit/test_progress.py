"""Progress is seen: a bar on a terminal, a line a period elsewhere, also while nothing happens."""

import io
import threading

import pytest

from streamlabel.progress import progress


class Stream(io.StringIO):
    """Says when it was written to."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = threading.Semaphore(0)

    def write(self, text: str) -> int:
        """Count a line."""
        if text.endswith("\n"):
            self.lines.release()
        return super().write(text)


@pytest.mark.parametrize(
    ("total", "expected"),
    [(1234, "in.jsonl: 1,000 of 1,234, 900 acknowledged, "), (None, "in.jsonl: 1,000, 900 ack")],
)
def test_where_there_is_no_terminal_there_is_a_line_a_period(
    total: int | None, expected: str
) -> None:
    stream = Stream()
    with progress("in.jsonl", total=total, stream=stream, period_s=0.01) as update:
        update(1000, "900 acknowledged")
        assert stream.lines.acquire(timeout=30)
        assert stream.lines.acquire(timeout=30)  # nothing was reported meanwhile
    last = stream.getvalue().splitlines()[-1]
    assert last.startswith(expected)
    assert last.endswith(" s" if total is None else " s left")


def test_what_is_quick_says_nothing() -> None:
    stream = Stream()
    with progress("in.jsonl", total=1, stream=stream) as update:
        update(1, "")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("what", ["in.jsonl", "[bold]in.jsonl"])
def test_a_terminal_has_a_bar(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    stream = Stream()
    with progress(what, total=4, stream=stream, is_terminal=True) as update:
        update(3, "2 acknowledged")
    assert what in stream.getvalue()
    assert "3/4" in stream.getvalue()
    assert "2 acknowledged" in stream.getvalue()


def test_an_error_ends_it() -> None:
    with (
        pytest.raises(ZeroDivisionError),
        progress("in.jsonl", total=1, stream=Stream(), period_s=0.01),
    ):
        _ = 1 / 0
    assert "progress" not in {thread.name for thread in threading.enumerate()}
