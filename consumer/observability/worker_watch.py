"""Checks whether the worker process answers; reports changes to the service and the log."""

from typing import Final, Never, Protocol

import structlog

from streamlabel.consumer.core.ports import Clock

__all__ = ["Answering", "watch_worker"]

_INTERVAL_S: Final = 2.0
# Its event loop is blocked for milliseconds only; on a machine that swaps it may be seconds.
_WITHIN_S: Final = 5.0

_log = structlog.get_logger(__name__)


class Answering(Protocol):
    """A worker that can be asked whether it is alive."""

    async def answers(self, *, within_s: float) -> bool:
        """Return whether it answers within ``within_s``."""
        ...


class _Seen(Protocol):
    def __call__(self, *, up: bool) -> None: ...


async def watch_worker(worker: Answering, *, clock: Clock, seen: _Seen) -> Never:
    """Ask every two seconds, until cancelled.

    Args:
        worker: the worker to ask.
        clock: waits, and measures how long the worker did not answer.
        seen: called with each result, for the gauge and ``/readyz``.
    """
    silent_since_s: float | None = None
    while True:
        asked_s = clock.now_s()
        is_up = await worker.answers(within_s=_WITHIN_S)
        seen(up=is_up)
        if not is_up and silent_since_s is None:
            silent_since_s = asked_s
            _log.warning("worker_silent", asked_ago_s=round(clock.now_s() - asked_s, 1))
        elif is_up and silent_since_s is not None:
            silent_s = clock.now_s() - silent_since_s
            silent_since_s = None
            _log.info("worker_answers", silent_s=round(silent_s, 1))
        await clock.sleep(_INTERVAL_S)
