"""The numbers of the queue as texts, each with the name of its cell on the leading page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from streamlabel.console.store.items import QueueCount, QueueCounts

__all__ = ["QueueFigures", "QueueRow", "queue_figures"]


@dataclass(frozen=True, slots=True)
class QueueRow:
    """One task and label, with the texts of its cells by column."""

    name: str
    task: str | None
    label: str | None
    cells: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """The whole page in texts.

    Attributes:
        totals: of all queues, by name.
        rows: longest queue first.
        cells: all texts by the id of their cell; what the live stream sends.
        refused: records that could not become items, by reason.
        has_audits: whether there was an audit yet.
    """

    totals: Mapping[str, str]
    rows: Sequence[QueueRow]
    cells: Mapping[str, str]
    refused: Mapping[str, int]
    has_audits: bool


def queue_figures(counts: QueueCounts, *, now: datetime) -> QueueFigures:
    """Return the numbers of the queue at one time."""
    queues = sorted(counts.queues, key=lambda queue: -queue.open)
    rows = [_row(queue, now) for queue in queues]
    oldest = min((queue.oldest_at for queue in queues if queue.oldest_at), default=None)
    totals = {
        "open": _number(sum(queue.open for queue in queues)),
        "leased": _number(sum(queue.leased for queue in queues)),
        "oldest": _age(oldest, now),
        "arrived": _number(sum(queue.arrived_last_hour for queue in queues)),
        "decided": _number(sum(queue.decided_last_hour for queue in queues)),
        "outbox": _number(counts.outbox),
        "audits": _number(sum(each.open for each in counts.audits)),
        "audits_overdue": _number(sum(each.overdue for each in counts.audits)),
        "oldest_audit": _age(
            min((each.oldest_at for each in counts.audits if each.oldest_at), default=None), now
        ),
        "audits_erased": _number(sum(each.erased for each in counts.audits)),
    }
    cells = {f"total.{name}": text for name, text in totals.items()}
    for row in rows:
        cells |= {f"{row.name}.{column}": text for column, text in row.cells.items()}
    return QueueFigures(totals, rows, cells, counts.refused, bool(counts.audits))


def _row(queue: QueueCount, now: datetime) -> QueueRow:
    cells = {
        "open": _number(queue.open),
        "leased": _number(queue.leased),
        "oldest": _age(queue.oldest_at, now),
        "arrived": _number(queue.arrived_last_hour),
        "decided": _number(queue.decided_last_hour),
        "all": _number(queue.decided),
    }
    return QueueRow(f"{queue.task or ''}|{queue.label or ''}", queue.task, queue.label, cells)


def _number(number: int) -> str:
    return f"{number:,}"


def _age(since: datetime | None, now: datetime) -> str:
    """Return an age in its largest unit, and never less than nothing if a clock jumped."""
    if since is None:
        return "-"
    age = max(now - since, timedelta())
    seconds = int(age.total_seconds())
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
