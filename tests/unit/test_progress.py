"""Progress is seen: a bar on a terminal, a line a period elsewhere, also while nothing happens."""

import io
import threading

import pytest

from streamlabel.progress import ProgressLines, duration, progress


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


def lines_of(total: int | None = 800, **given: float) -> ProgressLines:
    return ProgressLines("training", total, before=int(given.get("before", 0)), began_s=1000.0)


def test_the_first_line_comes_after_seconds_and_then_one_a_minute() -> None:
    lines, seen = lines_of(), []
    for second in range(301):
        lines.update(second, "")
        if lines.line(1000.0 + second) is not None:
            seen.append(second)
    assert seen == [5, 65, 125, 185, 245]


def test_a_line_says_what_is_done_and_how_long_the_rest_takes() -> None:
    lines = lines_of()
    lines.update(100, "epoch 1")
    assert lines.line(1004.9) is None
    assert lines.line(1005.0) == "training: 100 of 800, epoch 1, 5 s, about 35 s left"
    assert lines.line(1005.0) is None  # once
    assert lines.line(4600.0) == "training: 100 of 800, epoch 1, 60 min, about 7 h 0 min left"


def test_before_the_first_step_a_line_says_only_how_long_it_has_waited() -> None:
    assert lines_of().line(1060.0) == "training: 0 of 800, 60 s"
    assert lines_of(None).line(1060.0) == "training: 0, 60 s"


def test_what_an_earlier_part_did_does_not_count_for_the_time_left() -> None:
    lines = lines_of(before=600)
    assert lines.line(1010.0) == "training: 600 of 800, 10 s"
    lines.update(650, "")
    assert lines.line(1100.0) == "training: 650 of 800, 100 s, about 5 min left"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (119 * 60, "119 min"),
        (120 * 60, "2 h 0 min"),
        (12_000, "3 h 20 min"),
    ],
)
def test_a_duration_is_said_in_its_units(seconds: float, said: str) -> None:
    assert duration(seconds) == said
