"""``streamlabel run`` with measurements of event loop delays and of the device's idle time.

Usage: python -m benchmarks.watched_service REPORT.json run -c CONFIG. Two functions are wrapped
before the service starts: the one that runs every callback of the loop, and the one that passes a
batch to the worker. The service itself is unchanged.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamlabel.consumer.pipeline import Pipeline
from streamlabel.errors import InferenceError
from streamlabel.models.core.classifier import Prediction, PreparedText
from streamlabel.models.worker.worker_classifier import WorkerClassifier

_BACKLOG_ITEMS = 200  # with this many records in flight, the device is not idle for lack of input
_WARM_UP_S = 2.0  # from the first batch on


class Watch:
    """The measurements.

    Attributes:
        longest_s: longest callback of the loop, in wall time.
        longest_cpu_s: longest callback in CPU time of its thread.
        waiting_s: time in which a stream of the device had no batch although there was a backlog,
            averaged over all streams.
        backlog_s: time in which there was a backlog.
    """

    def __init__(self) -> None:
        self.longest_s = self.longest_cpu_s = self.waiting_s = self.backlog_s = 0.0
        self._pipeline: Pipeline | None = None
        self._outstanding = 0
        self._since_s = self._first_s = 0.0

    def install(self) -> None:
        """Wrap the functions."""
        handles: Any = asyncio.Handle
        run, start, classify = handles._run, Pipeline.run, WorkerClassifier.classify  # noqa: SLF001 see above

        def timed(handle: asyncio.Handle) -> None:
            began_s, began_cpu_s = time.perf_counter(), time.thread_time()
            run(handle)
            if self._is_warm(time.perf_counter()):
                self.longest_s = max(self.longest_s, time.perf_counter() - began_s)
                self.longest_cpu_s = max(self.longest_cpu_s, time.thread_time() - began_cpu_s)

        async def known(pipeline: Pipeline) -> None:
            self._pipeline = pipeline
            await start(pipeline)

        async def counted(
            worker: WorkerClassifier, prepared: Sequence[PreparedText]
        ) -> list[Prediction | InferenceError]:
            streams = max(1, worker.hints.max_in_flight - 1)
            self._changed(streams, +1)
            try:
                return await classify(worker, prepared)
            finally:
                self._changed(streams, -1)

        handles._run = timed  # noqa: SLF001 see above
        for owner, name, wrapper in (
            (Pipeline, "run", known),
            (WorkerClassifier, "classify", counted),
        ):
            setattr(owner, name, wrapper)

    def _is_warm(self, now_s: float) -> bool:
        return bool(self._first_s) and now_s - self._first_s > _WARM_UP_S

    def _changed(self, streams: int, change: int) -> None:
        now_s = time.perf_counter()
        self._first_s = self._first_s or now_s
        is_backlog = self._pipeline is not None and self._pipeline.in_flight.items > _BACKLOG_ITEMS
        if self._is_warm(now_s) and is_backlog:
            self.backlog_s += now_s - self._since_s
            idle = max(0, streams - self._outstanding) / streams
            self.waiting_s += idle * (now_s - self._since_s)
        self._since_s = now_s
        self._outstanding += change


def main() -> None:
    """Run the service; write the report when it ends."""
    from streamlabel.__main__ import main as streamlabel

    report = Path(sys.argv.pop(1))
    watch = Watch()
    watch.install()
    try:
        streamlabel()
    finally:
        found = {
            "longest_ms": 1000 * watch.longest_s,
            "longest_cpu_ms": 1000 * watch.longest_cpu_s,
            "device_waits": watch.waiting_s / max(watch.backlog_s, 1e-9),
            "backlog_s": watch.backlog_s,
        }
        report.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
