"""Faults that concern topics and not processes: they grow, go and come back, are cleaned, are slow.

As in ``faults``, each returns when it was over. Each also says by itself whether it met what it is
about (``met_work``): that records were there before a partition was known, that a marker was the
last thing in a partition, that the broker held a client back, that compaction took something.
"""

import contextlib
import time
from collections.abc import Mapping, Sequence

from testing.chaos.driver import GENERATION
from testing.chaos.faults import killed
from testing.chaos.processes import ServiceProcess
from testing.chaos.run import AT_WORK_S, Run
from testing.chaos.verifier import Window
from testing.kafka_broker import wait_until

__all__ = [
    "BYTES_S",
    "compacted",
    "input_grows",
    "input_recreated",
    "markers_deleted",
    "throttled",
]

BYTES_S = 1_000_000
_THROTTLED_S = 15.0
_RECREATED = "input_topic_recreated"
_FIRST_RECORDS = 10  # in a new partition before anybody knows of it
_COMMITTED_WITHIN_S = 20.0
_NOTICED_WITHIN_S = 15.0
_READ_WITHIN_S = 20.0
_COMPACTED_WITHIN_S = 60.0


def input_grows(runs: Sequence[Run]) -> float:
    """The input gets a partition, with records in it before a service knows of it.

    In turns: while the services run, and while none does.
    """
    for run in runs:
        away = len(run.in_flight) % 2 == 1
        running = run.running()
        if away:
            _terminate_all(run)
        with run.driver.paused():
            run.place.cluster.grow(run.topics.texts, run.partitions + 1)
            run.driver.add_partitions(1)
            run.driver.write_each({run.partitions: _FIRST_RECORDS})
        run.met_work = not any(run.partitions in each.owned() for each in running)
        run.partitions += 1
        for _ in running if away else ():
            run.start_service()
    over_s = time.monotonic()
    for run in runs:
        wait_until(run.all_joined, what="the new partition has an owner", timeout_s=AT_WORK_S)
        _wait_read_on(run, run.partitions - 1)
    return over_s


def _wait_read_on(run: Run, partition: int) -> None:
    """Wait until what is written to a partition from now on has an outcome.

    Only then is what has none missing: before, it may still be about to come.
    """
    acked = [record.at for record in list(run.driver.acked)]
    newest = max(at.offset for at in acked if at.partition == partition)
    with contextlib.suppress(TimeoutError):  # then what has no outcome is found at the end
        wait_until(
            lambda: run.observer.written().get(partition, 0) > newest + 1,
            what="the new partition is read",
            timeout_s=_READ_WITHIN_S,
        )


def input_recreated(runs: Sequence[Run]) -> float:
    """The input is deleted and created again.

    In turns: while the services stand still, until the new topic has more records than the old one
    had, so that their positions exist in it; and in their sight.
    """
    for run in runs:
        unseen = len(run.in_flight) % 2 == 0
        services = run.running()
        said = {each: each.said(_RECREATED) for each in services}
        with run.driver.paused():
            for each in services if unseen else ():
                each.pause()
            positions = run.committed()
            ends = run.place.cluster.ends(run.topics.texts)
            run.excused.update(run.waiting())
            run.place.cluster.recreate(run.topics.texts)
            run.driver.begin_again()
            if unseen:
                run.driver.write_each({number: end + 50 for number, end in ends.items()})
            for each in services if unseen else ():
                each.resume()
        if _is_noticed(run, said):
            run.windows.append(early := _read_early(run, positions))
            _wait_read_again(run, early)
        run.met_work = True
    return time.monotonic()


def _is_noticed(run: Run, said: Mapping[ServiceProcess, int]) -> bool:
    try:
        wait_until(
            lambda: all(each.said(_RECREATED) > before for each, before in said.items()),
            what="the other topic is noticed",
            timeout_s=_NOTICED_WITHIN_S,
        )
    except TimeoutError:
        run.problems.append(f"not noticed within {_NOTICED_WITHIN_S:g} s")
        return False
    return True


def _wait_read_again(run: Run, early: Window) -> None:
    """Wait until what was read early was read again: what stands behind it has its outcome.

    If the topic were deleted before that, the early copies would be the only ones, out of order.
    """

    def is_passed() -> bool:
        newest = dict(sorted(record.at for record in list(run.driver.acked)))
        return all(newest.get(number, 0) >= end for number, (_, end) in early.spans.items())

    wait_until(is_passed, what="records behind the early ones", timeout_s=AT_WORK_S)
    run.wait_recovered(run.waiting(), time.monotonic())


def _read_early(run: Run, positions: Mapping[int, int]) -> Window:
    """What may have been read of the new topic at positions of the old one."""
    ends = run.place.cluster.ends(run.topics.texts)
    first = run.driver.first_offset
    old = first - GENERATION
    return Window(
        {n: (first + offset - old, first + ends[n]) for n, offset in positions.items()},
        is_early=True,
    )


def markers_deleted(runs: Sequence[Run]) -> float:
    """Transactions are the last thing in each partition; all is read, then retention takes all.

    Then the services start anew, at committed offsets before which nothing is left.
    """
    for run in runs:
        topic = run.topics.texts
        with run.driver.paused():
            run.driver.transact(3, commit=True)
            run.driver.transact(5, commit=False)
            run.wait_recovered(run.waiting(), time.monotonic())
            ends = run.place.cluster.ends(topic)
            newest = dict(sorted(record.at for record in run.driver.acked))
            run.met_work = all(end > newest[number] + 1 for number, end in ends.items())
            if not _all_is_committed(run):
                continue
            running = run.running()
            _terminate_all(run)
            for number, end in ends.items():
                run.place.cluster.drop_before(topic, end, number)
            for _ in running:
                run.start_service()
            wait_until(run.all_joined, what="all begin again", timeout_s=AT_WORK_S)
    return time.monotonic()


def _all_is_committed(run: Run) -> bool:
    try:
        wait_until(lambda: run.lag() == 0, what="lag 0", timeout_s=_COMMITTED_WITHIN_S)
    except TimeoutError:
        run.problems.append(f"lag {run.lag()} behind the last records")
        run.has_failed = True
    return not run.has_failed


def _terminate_all(run: Run) -> None:
    running = run.running()
    for each in running:
        each.terminate()
    for each in running:
        if code := each.wait():
            run.problems.append(f"exit code {code} after SIGTERM")


def throttled(runs: Sequence[Run]) -> float:
    """The broker takes only so many bytes a second of the services, and makes them wait."""
    for run in runs:
        run.place.cluster.limit_writes(run.topics.texts, BYTES_S)
    began_s = time.monotonic()
    before = [run.observer.size_bytes for run in runs]
    time.sleep(_THROTTLED_S)
    for run, earlier in zip(runs, before, strict=True):
        share = (run.observer.size_bytes - earlier) / (time.monotonic() - began_s) / BYTES_S
        run.met_work = share < 2
        if share < 0.4:
            run.problems.append(f"starved: {share:.2f} of what the link carries")
        run.place.cluster.limit_writes(run.topics.texts, None)
    return time.monotonic()


def compacted(runs: Sequence[Run]) -> float:
    """A service is killed, and compaction takes what has a newer output of the same key."""
    over_s = killed(runs)
    for run in runs:

        def has_compacted(run: Run = run) -> bool:
            labels = run.topics.labels
            written = sum(each.topic == labels for each in list(run.observer.outcomes))
            return len(run.place.cluster.read(labels)) < written

        wait_until(has_compacted, what="compaction", timeout_s=_COMPACTED_WITHIN_S, every_s=1.0)
    return over_s
