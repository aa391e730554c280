"""Makes a decision of what a form says about an item."""

from collections.abc import Sequence
from typing import Final, Literal, cast

from streamlabel.console.store.items import Action, Decision, Item
from streamlabel.console.web.options import TaskChoices
from streamlabel.console.web.presenting import choices_of
from streamlabel.errors import VerdictError

__all__ = ["decision_of"]

_WITHOUT_LABELS: Final = frozenset({"unsure", "skip", "escalate"})


def decision_of(
    item: Item,
    *,
    action: str,
    labels: Sequence[str],
    task: TaskChoices,
    note: str | None,
    saw_model_answer: bool,
    duration_ms: int | None,
) -> Decision:
    """Return the decision about an item.

    Args:
        item: as stored.
        action: unsure, skip, escalate, confirm (the model's answer); anything else: the labels.
        labels: that were chosen.
        task: which labels it has, and whether several may apply.
        note: as typed.
        saw_model_answer: whether it was on the page.
        duration_ms: how long the text was shown.

    Raises:
        VerdictError: the form does not fit the item; the message says how.
    """
    what: Action
    chosen: tuple[str, ...] | None = None
    if action in _WITHOUT_LABELS:
        what = cast("Literal['unsure', 'skip', 'escalate']", action)
        if what == "escalate" and not note:
            raise VerdictError("an escalation needs a note: say what the next person should know")
    elif action == "confirm":
        if item.is_blind or item.model_labels is None:
            raise VerdictError("there is no answer of the model to confirm; choose a label")
        what = "confirm"
    else:
        chosen = _fitting(item, labels, task)
        is_same = item.model_labels is not None and set(chosen) == set(item.model_labels)
        # of a blind item the store alone says whether it is the model's answer: nobody confirms it
        what = "confirm" if is_same and not item.is_blind else "correct"
    return Decision(
        action=what,
        labels=chosen if what == "correct" else None,
        note=note,
        saw_model_answer=saw_model_answer,
        duration_ms=duration_ms,
    )


def _fitting(item: Item, labels: Sequence[str], task: TaskChoices) -> tuple[str, ...]:
    known = {choice.label for choice in choices_of(item, task)}
    if unknown := [label for label in labels if label not in known]:
        raise VerdictError(f"{len(unknown)} label(s) are not of this task; load the page again")
    if not task.multiple and len(labels) != 1:
        raise VerdictError("choose one label")
    return tuple(labels)
