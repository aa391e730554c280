"""Between rows of the tables and the values of ``items``."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import RowMapping

from streamlabel.console.store.items import Arrival, Event, Item, VerdictRow
from streamlabel.consumer.output.verdict import VerdictSource

__all__ = [
    "at",
    "by_console",
    "clean",
    "item_of",
    "ms",
    "optional_at",
    "relation_of",
    "row_of",
    "task_name",
    "verdict_row",
]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SAME: Final = (
    "review_id",
    "record_id",
    "text",
    "text_truncated",
    "confidence",
    "threshold",
    "purpose",
    "review_probability",
    "metadata",
    "key",
    "deployment_id",
    "model_digest",
    "calibration_id",
    "threshold_set_id",
    "priority",
    "near_key",
    "thread",
)


def ms(time: datetime) -> int:
    """Return epoch milliseconds."""
    return (time - _EPOCH) // timedelta(milliseconds=1)


def at(time_ms: int) -> datetime:
    """Return the time of epoch milliseconds, in UTC."""
    return _EPOCH + timedelta(milliseconds=time_ms)


def optional_at(time_ms: int | None) -> datetime | None:
    """Return the time, if there is one."""
    return None if time_ms is None else at(time_ms)


def clean(text: str) -> str:
    """Return a text that both databases store as it is: without NUL and lone surrogates."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")


def task_name(task: str | None) -> str:
    """Return the task as stored: indexes find no null."""
    return clean(task or "")


def _listed(values: tuple[str, ...] | None) -> list[str] | None:
    return None if values is None else list(values)


def _tuple(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def relation_of(thread: str | None, key: bytes | None) -> str | None:
    """Return what items of one thread share, or else those of one key; None: neither is there.

    A digest, because an index holds no long values.
    """
    if thread is None and key is None:
        return None
    what = b"key:" + (key or b"") if thread is None else b"thread:" + clean(thread).encode()
    return hashlib.blake2b(what, digest_size=16).hexdigest()


def row_of(arrival: Arrival, *, now: datetime) -> dict[str, Any]:
    """Return the row of a new item."""
    return {
        **{name: getattr(arrival, name) for name in _SAME},
        "task": task_name(arrival.task),
        "relation": relation_of(arrival.thread, arrival.key),
        "label": None if arrival.model_labels is None else clean(", ".join(arrival.model_labels)),
        "thread": None if arrival.thread is None else clean(arrival.thread),
        "model_labels": _listed(arrival.model_labels),
        "probabilities": _mapping(arrival.probabilities),
        "raw_probabilities": _mapping(arrival.raw_probabilities),
        "prediction_set": _listed(arrival.prediction_set),
        "reasons": list(arrival.reasons),
        "near_keys": _listed(arrival.near_keys),
        "source_topic": arrival.source.topic,
        "source_partition": arrival.source.partition,
        "source_offset": arrival.source.offset,
        "event_ms": arrival.event_time_ms,
        "arrived_ms": ms(now),
        "due_ms": None if arrival.due_at is None else ms(arrival.due_at),
        "look": 1,
        "state": "open",
        "open_from_ms": 0,
        "generation": 0,
    }


def _mapping(values: Mapping[str, float] | None) -> dict[str, float] | None:
    return None if values is None else dict(values)


def item_of(row: RowMapping) -> Item:
    """Return an item from its row."""
    return Item(
        **{name: row[name] for name in _SAME},
        item_id=row["item_id"],
        task=row["task"] or None,
        model_labels=_tuple(row["model_labels"]),
        probabilities=row["probabilities"],
        raw_probabilities=row["raw_probabilities"],
        prediction_set=_tuple(row["prediction_set"]),
        reasons=tuple(row["reasons"]),
        near_keys=_tuple(row["near_keys"]),
        source=VerdictSource(
            topic=row["source_topic"],
            partition=row["source_partition"],
            offset=row["source_offset"],
        ),
        event_time_ms=row["event_ms"],
        arrived_at=at(row["arrived_ms"]),
        due_at=optional_at(row["due_ms"]),
        look=row["look"],
        state=row["state"],
        generation=row["generation"],
        labels=_tuple(row["labels"]),
        appeal_id=row["appeal_id"],
        appealed_labels=_tuple(row["appealed_labels"]),
    )


def verdict_row(row: RowMapping) -> VerdictRow:
    """Return a verdict from a row of verdict, item and gold."""
    return VerdictRow(
        verdict_id=row["verdict_id"],
        item_id=row["item_id"],
        review_id=row["review_id"],
        record_id=row["record_id"],
        task=row["task"] or None,
        reviewer=row["reviewer"],
        pseudonym=row["pseudonym"],
        action=row["action"],
        labels=_tuple(row["labels"]),
        model_labels=_tuple(row["model_labels"]),
        confidence=row["confidence"],
        probabilities=row["probabilities"],
        saw_model_answer=row["saw_model_answer"],
        duration_ms=row["duration_ms"],
        decided_at=at(row["decided_ms"]),
        look=row["look"],
        purpose=row["purpose"],
        review_probability=row["review_probability"],
        gold_labels=_tuple(row["gold_labels"]),
        reasons=tuple(row["reasons"]),
    )


def by_console(action: str, now: datetime, item_id: int | None = None, **detail: Any) -> Event:  # noqa: ANN401 JSON
    """Return an event of what no person did."""
    return Event(at=now, actor="console", action=action, item_id=item_id, detail=detail)
