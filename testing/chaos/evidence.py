"""What explains damage of a chaos run: where copies stand, and what the services warned of.

A run that fails rarely cannot be asked again, so its row takes this along. Logs hold no texts.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from testing.chaos.verifier import At, Outcome

__all__ = ["copies", "warnings"]

_MOST_COPIES: Final = 20
_MOST_WARNINGS: Final = 60
_EXPECTED: Final = "dead_letter"  # of the load, in every run
_FIELDS: Final = ("ts", "event", "topic", "partition", "why", "reason", "error")


def copies(outcomes: Sequence[Outcome]) -> list[str]:
    """Return one line for each record with several outcomes of one task: where they stand."""
    places: dict[tuple[At, str | None], list[str]] = defaultdict(list)
    for each in outcomes:
        place = f"{each.topic}-{each.partition}@{each.offset}"
        places[each.source, each.task].append(place)
    doubled = (
        f"{source.partition}@{source.offset} at {', '.join(found)}"
        for (source, _), found in sorted(places.items(), key=lambda item: item[0][0])
        if len(found) > 1
    )
    return list(islice(doubled, _MOST_COPIES))


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
