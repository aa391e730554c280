"""How urgent a record is, and which texts are alike. Pure."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic import JsonValue

from streamlabel.config.console import OrderSettings

__all__ = ["due_time", "near_key", "priority", "value_at"]

_HOUR_MS: Final = 3_600_000
_SKIPPED: Final = re.compile(r"[\W\d_]+")
_MAX_MS: Final = 2**53


def priority(
    order: OrderSettings,
    *,
    event_time_ms: int,
    due_at: datetime | None,
    labels: Sequence[str] | None,
    confidence: float | None,
) -> float:
    """Return how urgent a record is, in hours of waiting; larger is more urgent.

    Every record becomes more urgent at the same rate, so the order of two never changes: a number
    that is computed once can be an index of the database.

    Args:
        order: weights.
        event_time_ms: when it happened, epoch ms.
        due_at: of its own; None: ``order.due_after_h`` after that.
        labels: the model's; None: it gave no usable answer, which is entirely uncertain.
        confidence: in [0, 1].
    """
    due_ms = (
        event_time_ms + order.due_after_h * _HOUR_MS
        if due_at is None
        else due_at.timestamp() * 1000
    )
    severity = max((order.severity.get(label, 0.0) for label in labels or ()), default=0.0)
    doubt = 1.0 if confidence is None else 1.0 - confidence
    waited = -(event_time_ms + order.due_weight * due_ms) / _HOUR_MS
    return waited + severity + order.uncertainty_weight * doubt


def value_at(metadata: JsonValue, path: str | None) -> Any:  # noqa: ANN401 any JSON
    """Return the value at a dotted path; None if there is none."""
    if path is None:
        return None
    found: Any = metadata
    for name in path.split("."):
        if not isinstance(found, Mapping) or name not in found:
            return None
        found = found[name]
    return found


def due_time(metadata: JsonValue, path: str | None) -> datetime | None:
    """Return the due time in metadata; None if there is none that can be read."""
    found = value_at(metadata, path)
    if isinstance(found, str):
        try:
            time = datetime.fromisoformat(found)
        except ValueError:
            return None
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    if not is_number or not 0 <= found < _MAX_MS:
        return None
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=found)
    except OverflowError:
        return None


def near_key(text: str) -> str:
    """Return what texts share that differ in case, digits, punctuation or spaces at most.

    No Unicode normalization: its time grows with the square of the marks on one letter.
    """
    kept = _SKIPPED.sub(" ", text.casefold()).strip()
    return hashlib.blake2b(
        (kept or text).encode("utf-8", "surrogatepass"), digest_size=16
    ).hexdigest()
