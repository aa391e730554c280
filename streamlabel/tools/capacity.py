"""Measures one process of the service with its model: the pipeline as with Kafka, without a broker.

The same texts go through it again and again for some seconds, as from a topic with a backlog. What
reading from and writing to Kafka cost in addition is known (``fleet_size.KAFKA``): it does not
depend on the model.
"""

import asyncio
import io
import os
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from math import ceil
from pathlib import Path
from typing import Any, Final

from streamlabel.config.deployments import in_one_process, paths_of_models
from streamlabel.config.places import refuse_missing
from streamlabel.config.settings import RepeatSettings, Settings
from streamlabel.consumer.delivery.offset_tracker import Slot
from streamlabel.consumer.files.sink import FileSink
from streamlabel.consumer.files.text_files import FileRecord
from streamlabel.consumer.output.outcome import Outcomes
from streamlabel.consumer.plans.job import Delivery, Job, Result
from streamlabel.consumer.plans.opening import read_calibrations
from streamlabel.consumer.workers import Workers
from streamlabel.errors import ConfigError
from streamlabel.models.core.clock import Clock
from streamlabel.tools.fleet_size import Measured
from streamlabel.tools.offline import classify_records

__all__ = ["measure", "rate_of"]

# The first part of the time is not counted: batches are small until the first ones are back.
_WARM_UP: Final = 0.2
# A rate between batches needs several of them.
_LEAST_MARKS: Final = 4


def rate_of(marks: Sequence[tuple[float, int]], *, seconds: float) -> float:
    """Return texts/s between batches, without the first fifth of the time.

    Args:
        marks: of each batch: when it came back, and how many texts were done before.
        seconds: of the measurement.

    Raises:
        ConfigError: there were too few batches.
    """
    counted = marks
    if marks:
        from_s = marks[0][0] + _WARM_UP * seconds
        counted = [mark for mark in marks if mark[0] >= from_s]
    if len(counted) < _LEAST_MARKS:
        raise ConfigError(
            f"--seconds: only {len(counted)} batches in {seconds:g} s; measure for longer"
        )
    (began_s, before), (ended_s, after) = counted[0], counted[-1]
    return (after - before) / (ended_s - began_s)


@dataclass
class _Run:
    """How many texts were done when, and the processor time used until then.

    Outcomes are counted and not outputs: those wait for the texts before them in the input.
    """

    clock: Clock
    pids: Callable[[], list[int]]
    done: int = 0
    has_begun: asyncio.Event = field(default_factory=asyncio.Event)
    marks: list[tuple[float, int]] = field(default_factory=list)
    used: list[tuple[float, float | None]] = field(default_factory=list)

    def opened(self, jobs: Sequence[Job]) -> None:
        """Count the outcome of each record."""
        for job in jobs:
            job.delivery = _Counted(self, job.delivery)

    def batch(self, results: Sequence[tuple[Job, Result]], *, now_ns: int) -> None:
        """Note what the batches before it came to."""
        del results, now_ns
        now_s = self.clock.now_s()
        self.marks.append((now_s, self.done))
        self.used.append((now_s, _cpu_s(self.pids())))
        self.has_begun.set()

    def cores(self) -> int:
        """Return how many cores were busy, rounded up; all of the machine if that is not known."""
        (began_s, before), (ended_s, after) = self.used[0], self.used[-1]
        if before is None or after is None:
            return os.cpu_count() or 1
        return max(1, ceil((after - before) / (ended_s - began_s)))


@dataclass(frozen=True, slots=True)
class _Counted:
    """The delivery of a record, which counts it."""

    run: _Run
    delivery: Delivery

    @property
    def closed(self) -> bool:
        return self.delivery.closed

    def finished(self, slot: Slot[Outcomes], outcomes: Outcomes) -> None:
        self.run.done += 1
        self.delivery.finished(slot, outcomes)


async def measure(
    settings: Settings,
    texts: Sequence[FileRecord],
    *,
    decoding: Settings,
    seconds: float,
    clock: Clock,
    configure_worker: Callable[[], None] | None = None,
    on_wait: Callable[[str, float], None] | None = None,
) -> Measured:
    """Return what one process makes of these texts.

    Texts that are equal are computed each time, because those of a stream differ.

    Args:
        settings: of the service.
        texts: at least one; they are read again and again.
        decoding: the settings with which they are read, of ``offline.open_records``.
        seconds: how long, behind the time that loading takes; > 0.
        clock: for the rates.
        configure_worker: called first in the worker processes.
        on_wait: called from time to time while a model loads.

    Raises:
        ConfigError: the model does not fit the settings, or ``seconds`` is too short for it.
        ModelError: the model failed too often.
    """
    no_repeats = {"repeats": RepeatSettings(max_items=0)}
    own = in_one_process(settings).model_copy(update=no_repeats)
    await asyncio.to_thread(refuse_missing, paths_of_models(own))
    workers = Workers(own, configure_worker=configure_worker, on_wait=on_wait)

    def pids() -> list[int]:
        found = {each.pid for each in workers.processes.values()}
        return [os.getpid(), *sorted(pid for pid in found if pid is not None)]

    run = _Run(clock, pids)
    written = _Counting()
    sink = FileSink(written, own)
    try:
        await workers.load(await asyncio.to_thread(read_calibrations, own))
        classifying = classify_records(
            _again_and_again(texts),
            sink,
            name="capacity",
            classifiers=workers.classifiers,
            settings=decoding.model_copy(update=no_repeats),
            watch=run,
        )
        await _for_some_time(classifying, run, seconds)
        memory = _peak_mib(pids())
    finally:
        await workers.close()
    return Measured(
        per_process=rate_of(run.marks, seconds=seconds),
        process_cores=run.cores(),
        process_mib=memory,
        input_bytes=sum(len(text.value or b"") for text in texts) / len(texts),
        # nothing was written yet if all wait for the first text
        output_bytes=written.size_bytes / max(1, sink.progress.line),
    )


def _again_and_again(texts: Sequence[FileRecord]) -> Iterator[FileRecord]:
    for number, text in enumerate(cycle(texts), start=1):
        yield FileRecord(number, text.value, text.problem)


async def _for_some_time(classifying: Coroutine[Any, Any, None], run: _Run, seconds: float) -> None:
    """Let it run for so long behind the first batch, then cancel it: most is in flight."""
    task = asyncio.ensure_future(classifying)
    timer = asyncio.ensure_future(_until(run, seconds))
    try:
        await asyncio.wait({task, timer}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
    finally:
        for each in (task, timer):
            each.cancel()
        await asyncio.gather(task, timer, return_exceptions=True)


async def _until(run: _Run, seconds: float) -> None:
    await run.has_begun.wait()
    await run.clock.sleep(seconds)


class _Counting(io.BytesIO):
    """Takes rows and keeps only their size."""

    def __init__(self) -> None:
        super().__init__()
        self.size_bytes = 0

    def write(self, rows: object, /) -> int:
        """Count."""
        assert isinstance(rows, bytes)  # noqa: S101 of FileSink
        self.size_bytes += len(rows)
        return len(rows)


def _cpu_s(pids: Iterable[int]) -> float | None:
    """Return the processor time of these processes so far; None where /proc does not say."""
    try:
        ticks = [_ticks(Path(f"/proc/{pid}/stat").read_text()) for pid in pids]
    except OSError:
        return None
    return sum(ticks) / os.sysconf("SC_CLK_TCK")


def _ticks(stat: str) -> int:
    # behind the name, which may contain spaces and brackets: state is field 3, utime 14, stime 15
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _peak_mib(pids: Iterable[int]) -> float | None:
    """Return the largest resident memory of these processes, added up; None as above."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:
            return None
        total += sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return total / 1024
