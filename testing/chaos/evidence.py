"""What explains damage of a chaos run: where copies stand, and what the services warned of.

A run that fails rarely cannot be asked again, so its row takes this along. Logs hold no texts.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from testing.chaos.owed_markers import Batch, Debt
from testing.chaos.verifier import At, Outcome

__all__ = ["are_owed", "copies", "warnings"]

_OFFSETS: Final = "__consumer_offsets-"
_MOST_COPIES: Final = 20
_MOST_WARNINGS: Final = 60
_EXPECTED: Final = "dead_letter"  # of the load, in every run
_FIELDS: Final = ("ts", "event", "topic", "partition", "why", "reason", "error")


def copies(outcomes: Sequence[Outcome]) -> list[str]:
    """Return one line for each record with several outcomes of one task: where they stand."""
    doubled = (
        f"{source.partition}@{source.offset} at "
        + ", ".join(f"{each.topic}-{each.partition}@{each.offset}" for each in found)
        for source, found in _doubled(outcomes)
    )
    return list(islice(doubled, _MOST_COPIES))


def are_owed(outcomes: Sequence[Outcome], debts: Sequence[Debt], batches: Sequence[Batch]) -> bool:
    """Whether each copy comes from a marker that the broker left out.

    All copies of a record stand in partitions without one: they are of one transaction that the
    broker ended in part. Or one of them was written by a producer whose offsets lack one: then the
    outputs of its transaction were committed, and its offsets were not. No service can prevent it.
    """
    places = {debt.partition for debt in debts}
    without_offsets = {
        debt.producer
        for debt in debts
        if debt.end == "COMMIT" and debt.partition.startswith(_OFFSETS)
    }
    doubled = _doubled(outcomes)
    return bool(doubled) and all(
        {_place(each) for each in found} <= places
        or any(_writer(each, batches) in without_offsets for each in found)
        for _, found in doubled
    )


def _place(outcome: Outcome) -> str:
    return f"{outcome.topic}-{outcome.partition}"


def _writer(outcome: Outcome, batches: Sequence[Batch]) -> int | None:
    place, offset = _place(outcome), outcome.offset
    return next(
        (b.producer for b in batches if b.partition == place and b.first <= offset <= b.last), None
    )


def _doubled(outcomes: Sequence[Outcome]) -> list[tuple[At, list[Outcome]]]:
    found: dict[tuple[At, str], list[Outcome]] = defaultdict(list)
    for each in outcomes:
        found[each.source, each.task or ""].append(each)
    return [(source, each) for (source, _), each in sorted(found.items()) if len(each) > 1]


def warnings(logs: Sequence[Path]) -> list[str]:
    """Return the last warnings and errors of each log of JSON lines, with the log's name."""
    return [f"{log.stem}: {line}" for log in logs for line in [*_warned(log)][-_MOST_WARNINGS:]]


def _warned(log: Path) -> Iterator[str]:
    for line in log.read_bytes().splitlines():
        try:
            entry: Any = json.loads(line)
        except ValueError:  # Python's own words, or a line that a kill has cut
            continue
        is_entry = isinstance(entry, dict) and entry.get("event") != _EXPECTED
        if is_entry and entry.get("level") in {"warning", "error", "critical"}:
            yield " ".join(str(entry[name]) for name in _FIELDS if name in entry)
