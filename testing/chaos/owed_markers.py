"""Transactions that a broker has completed without writing all of their markers, from its files.

The coordinator writes first which partitions a transaction has and how it ends, then the markers
into these partitions. Where a marker is missing, records of the transaction get the end of the next
one of the same producer: aborted ones are committed, and committed ones aborted; committed offsets
are not, so their records are read again. No client can see or prevent that, so doubles that come
from there are the broker's.
"""

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from testing.kafka_broker import LocalCluster

__all__ = ["Batch", "Debt", "batches", "owed", "owed_markers"]

# Partition as "topic-number", id of the producer, COMMIT or ABORT.
_Marker = tuple[str, int, str]

# States of a transaction in the coordinator's log that say how it ends.
_ENDS: Final = {2: "COMMIT", 3: "ABORT"}
_PREPARED: Final = re.compile(r"payload: (\{.*\})$")
_DUMP: Final = "org.apache.kafka.tools.DumpLogSegments"
_FILE: Final = re.compile(r"^Dumping .*/([^/]+)/\d+\.log$")
_BATCH: Final = re.compile(
    r"baseOffset: (\d+) lastOffset: (\d+) .*producerId: (\d+) .*isControl: false"
)
_CONTROL: Final = re.compile(r"producerId: (\d+) .*isControl: true")
_END: Final = re.compile(r"endTxnMarker: (COMMIT|ABORT)")


class Debt(NamedTuple):
    """A partition with fewer markers of a producer than transactions that ended so.

    Attributes:
        partition: as "topic-number".
        end: COMMIT or ABORT.
        ended: how many transactions with this partition have ended so.
        markers: how many markers it has.
    """

    partition: str
    producer: int
    end: str
    ended: int
    markers: int


class Batch(NamedTuple):
    """Records that one producer wrote.

    Attributes:
        partition: as "topic-number".
        first: offset.
        last: offset.
    """

    partition: str
    first: int
    last: int
    producer: int


def owed_markers(cluster: LocalCluster) -> tuple[list[Debt], list[Batch]]:
    """Return the markers that a broker left out, by partition and producer, and who wrote what.

    Args:
        cluster: of one broker, none of whose logs has been shortened.
    """
    data = cluster.data()
    state = sorted(data.glob("__transaction_state-*/*.log"))
    others = sorted(set(data.glob("*/*.log")) - set(state) - set(data.glob("__cluster*/*.log")))
    if not state or not others:
        return [], []
    lines = _dump(cluster, others, "--print-data-log")
    return owed(_dump(cluster, state, "--transaction-log-decoder"), lines), batches(lines)


def owed(state: Iterable[str], partitions: Iterable[str]) -> list[Debt]:
    """Compare the lines of two dumps of ``DumpLogSegments``, as ``owed_markers`` does."""
    found = _written(partitions)
    return [
        Debt(*marker, count, found[marker])
        for marker, count in sorted(_ended(state).items())
        if found[marker] < count
    ]


def batches(partitions: Iterable[str]) -> list[Batch]:
    """Return the batches of records in a dump of ``DumpLogSegments``."""
    found, partition = [], ""
    for line in partitions:
        if file := _FILE.search(line):
            partition = file[1]
        elif batch := _BATCH.search(line):
            first, last, producer = map(int, batch.groups())
            found.append(Batch(partition, first, last, producer))
    return found


def _ended(lines: Iterable[str]) -> Counter[_Marker]:
    ends: Counter[_Marker] = Counter()
    for line in lines:
        payload = _PREPARED.search(line)
        entry = {} if payload is None else json.loads(payload[1])["data"]
        end = _ENDS.get(entry.get("transactionStatus", -1))
        for topic in (entry.get("transactionPartitions") or []) if end else []:
            for number in topic["partitionIds"]:
                ends[f"{topic['topic']}-{number}", entry["producerId"], end or ""] += 1
    return ends


def _written(lines: Iterable[str]) -> Counter[_Marker]:
    markers: Counter[_Marker] = Counter()
    partition, producer = "", -1
    for line in lines:
        if file := _FILE.search(line):
            partition = file[1]
        elif batch := _CONTROL.search(line):
            producer = int(batch[1])
        elif end := _END.search(line):
            markers[partition, producer, end[1]] += 1
    return markers


def _dump(cluster: LocalCluster, files: Sequence[Path], option: str) -> list[str]:
    names = ",".join(map(str, files))
    command = [*cluster.tool(_DUMP), "--files", names, option]
    done = subprocess.run(command, capture_output=True, check=True, timeout=120)
    return done.stdout.decode(errors="replace").splitlines()
