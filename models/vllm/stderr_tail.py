"""Keeps the last lines that this process and its children write to standard error."""

import os
import sys
import threading
from collections import deque
from types import TracebackType
from typing import Final, Self

__all__ = ["StderrTail"]

_LINES: Final = 400
_LAST_WORDS_S: Final = 2.0


class StderrTail:
    """While entered, standard error goes through us; everything is passed on at once.

    Children that are started meanwhile keep writing through us until they end.
    """

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._is_ours = False

    def __enter__(self) -> Self:
        self._original = os.dup(2)
        read_end, write_end = os.pipe()
        os.dup2(write_end, 2)
        os.close(write_end)
        self._is_ours = True
        self._thread = threading.Thread(
            target=self._pass_on, args=(read_end, os.dup(self._original)), daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._give_back()

    def last_words(self) -> str:
        """Return the last lines, after the children that wrote them have ended."""
        self._give_back()
        self._thread.join(_LAST_WORDS_S)
        return "".join(self._lines)

    def _give_back(self) -> None:
        if self._is_ours:
            self._is_ours = False
            sys.stderr.flush()
            os.dup2(self._original, 2)
            os.close(self._original)

    def _pass_on(self, read_end: int, target: int) -> None:
        with os.fdopen(read_end, "rb") as stream, os.fdopen(target, "wb", buffering=0) as original:
            for line in stream:
                original.write(line)
                self._lines.append(line.decode(errors="replace"))
