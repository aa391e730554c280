"""Limits repeated log lines: a few are written, the rest is counted, so the log stays bounded."""

import logging
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

__all__ = ["EventLimit", "RepeatFilter"]

_REMEMBERED = 1000  # messages; above this all are forgotten, so memory is bounded


@dataclass(slots=True)
class _Heard:
    since_s: float
    lines: int = 1
    held_back: int = 0


class _Windows:
    """Counts lines by key; per key, ``burst`` lines pass in a window of ``window_s``."""

    def __init__(self, *, burst: int, window_s: float, now_s: Callable[[], float]) -> None:
        self._burst = burst
        self._window_s = window_s
        self._now_s = now_s
        self._heard: dict[Hashable, _Heard] = {}

    def passes(self, key: Hashable) -> int | None:
        """Return how many lines were suppressed before this one; None: suppress this one, too."""
        now_s = self._now_s()
        heard = self._heard.get(key)
        if heard is not None and now_s - heard.since_s < self._window_s:
            if heard.lines < self._burst:
                heard.lines += 1
                return 0
            heard.held_back += 1
            return None
        if len(self._heard) >= _REMEMBERED:
            self._heard.clear()
        self._heard[key] = _Heard(now_s)
        return 0 if heard is None else heard.held_back


class RepeatFilter(logging.Filter):
    """Writes each line of ``logger`` and its children at most once in ``window_s``.

    While a broker is down aiokafka 0.14 retries without a pause and logs every failure, hundreds of
    lines per second. The field ``repeated`` of a line is the number of lines suppressed before it.
    """

    def __init__(
        self, logger: str, *, window_s: float = 10.0, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._logger = logger
        self._windows = _Windows(burst=1, window_s=window_s, now_s=now_s)

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to write the line."""
        if record.name != self._logger and not record.name.startswith(f"{self._logger}."):
            return True
        held_back = self._windows.passes((record.name, record.levelno, record.getMessage()))
        if held_back:
            record.repeated = held_back
        return held_back is not None


class EventLimit(logging.Filter):
    """Writes at most ``burst`` lines of one of our events in ``window_s``, the first ones at once.

    So no event can fill a disk, however many records it concerns: a text that fails, or a batch
    that is retried, logs a line each. The field ``repeated`` of the event's next line is the number
    of suppressed lines; the metrics count all of them. DEBUG is not limited.
    """

    def __init__(
        self,
        *,
        burst: int = 100,
        window_s: float = 10.0,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._windows = _Windows(burst=burst, window_s=window_s, now_s=now_s)

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to write the line; structlog's lines arrive as mappings."""
        if record.levelno <= logging.DEBUG or not isinstance(record.msg, dict):
            return True
        held_back = self._windows.passes((record.name, record.levelno, record.msg.get("event")))
        if held_back:
            record.msg["repeated"] = held_back
        return held_back is not None
