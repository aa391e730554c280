"""A library that says the same many times a second is heard once in a while."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["RepeatFilter"]

_REMEMBERED = 1000  # messages; beyond that all are forgotten, so memory is bounded


@dataclass(slots=True)
class _Heard:
    since_s: float
    held_back: int = 0


class RepeatFilter(logging.Filter):
    """Lets a line of ``logger`` and its children through once in ``window_s``.

    While a broker is down aiokafka 0.14 tries again without a pause and logs every failure,
    hundreds of lines a second. A line that comes after some were held back says how many in its
    field ``repeated``.
    """

    def __init__(
        self, logger: str, *, window_s: float = 10.0, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._logger = logger
        self._window_s = window_s
        self._now_s = now_s
        self._heard: dict[tuple[str, int, str], _Heard] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to write the line."""
        if record.name != self._logger and not record.name.startswith(f"{self._logger}."):
            return True
        key = (record.name, record.levelno, record.getMessage())
        now_s = self._now_s()
        heard = self._heard.get(key)
        if heard is not None and now_s - heard.since_s < self._window_s:
            heard.held_back += 1
            return False
        if heard is not None and heard.held_back:
            record.repeated = heard.held_back
        if len(self._heard) >= _REMEMBERED:
            self._heard.clear()
        self._heard[key] = _Heard(now_s)
        return True
