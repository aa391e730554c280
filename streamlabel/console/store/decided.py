"""What a decision writes: its row, the change of its item, its entry in the audit log. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, update

from streamlabel.console.store.items import Decision, Event, Item
from streamlabel.console.store.rows import ms
from streamlabel.console.store.tables import item

__all__ = ["CHANGE", "change_of", "decided_event", "goes_back", "row_of_verdict"]

# Of several items at once.
CHANGE: Final = (
    update(item)
    .where(item.c.item_id == bindparam("of_item"))
    .values(
        verdict_id=bindparam("to_verdict"),
        state=bindparam("to_state"),
        open_from_ms=bindparam("to_open_from_ms"),
        labels=bindparam("to_labels", type_=item.c.labels.type),
        decided_ms=bindparam("to_decided_ms"),
    )
)


def goes_back(found: Item, decision: Decision) -> bool:
    """Return whether somebody else decides: nobody looks at an appeal later, as at others."""
    is_open = decision.action == "skip" or (found.purpose == "appeal" and decision.labels is None)
    return is_open and found.purpose != "gold"


def _labels(decision: Decision) -> list[str] | None:
    return None if decision.labels is None else list(decision.labels)


def row_of_verdict(
    found: Item, decision: Decision, reviewer: str, pseudonym: str, now: datetime
) -> dict[str, Any]:
    """Return the row of a verdict."""
    return {
        "item_id": found.item_id,
        "reviewer": reviewer,
        "pseudonym": pseudonym,
        "action": decision.action,
        "labels": _labels(decision),
        "saw_model_answer": decision.saw_model_answer,
        "duration_ms": decision.duration_ms,
        "note": decision.note,
        "decided_ms": ms(now),
        "generation": found.generation,
    }


def change_of(
    found: Item, decision: Decision, ids: Mapping[int, int], due_ms: int, now_ms: int
) -> dict[str, Any]:
    """Return the parameters of ``CHANGE``."""
    is_open = goes_back(found, decision)
    return {
        "of_item": found.item_id,
        "to_verdict": ids[found.item_id],
        "to_state": "open" if is_open else "decided",
        "to_open_from_ms": due_ms if is_open else 0,
        "to_labels": None if is_open else _labels(decision),
        "to_decided_ms": None if is_open else now_ms,
    }


def decided_event(
    found: Item,
    decision: Decision,
    ids: Mapping[int, int],
    *,
    second: int | None,
    by: str,
    now: datetime,
) -> Event:
    """Return the entry of the audit log.

    Args:
        found: the item.
        decision: about it.
        ids: item -> verdict.
        second: item of the second look that it makes; None: none.
        by: the reviewer.
        now: the time.
    """
    detail: dict[str, Any] = {
        "decision": decision.action,
        "labels": None if decision.labels is None else [*decision.labels],
        "verdict_id": ids[found.item_id],
    }
    if second is not None:
        detail["second_look"] = second
    return Event(
        at=now,
        actor=by,
        action="decided",
        item_id=found.item_id,
        detail=detail,
        note=decision.note,
    )
