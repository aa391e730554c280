"""The verdict of a decision about an item, as a message. Pure."""

from collections.abc import Collection
from datetime import datetime
from typing import Literal

from streamlabel.console.store.items import Decision, Item
from streamlabel.consumer.output.verdict import SCHEMA, VerdictAppeal, VerdictMessage
from streamlabel.errors import VerdictError

__all__ = ["fitting", "undecided", "verdict_of"]


def fitting(decision: Decision, item: Item) -> Decision:
    """Return the decision with its labels, and with the action that these amount to.

    Who decides without the model's answer cannot know whether theirs is the same: ``correct`` with
    the model's labels is ``confirm``.

    Raises:
        VerdictError: it does not fit the item.
    """
    saw = decision.saw_model_answer and not item.is_blind
    if decision.action not in {"confirm", "correct"}:
        return _with(decision, labels=None, saw=saw, action=decision.action)
    if decision.labels is None:
        if decision.action == "correct":
            raise VerdictError("correct: choose labels")
        if item.is_blind:
            raise VerdictError("confirm: this item is decided without the model's answer")
        if item.model_labels is None:
            raise VerdictError("confirm: the model gave no answer; choose labels")
        return _with(decision, labels=item.model_labels, saw=saw, action="confirm")
    labels = tuple(dict.fromkeys(decision.labels))
    is_same = item.model_labels is not None and _same(labels, item.model_labels)
    if decision.action == "confirm" and not is_same:
        raise VerdictError("confirm: these are not the labels of the model; correct them")
    return _with(decision, labels=labels, saw=saw, action="confirm" if is_same else "correct")


def _same(left: Collection[str], right: Collection[str]) -> bool:
    return set(left) == set(right)


def _with(
    decision: Decision, *, labels: tuple[str, ...] | None, saw: bool, action: str
) -> Decision:
    note = decision.note.strip() if decision.note else None
    return Decision(
        action=action,  # type: ignore[arg-type]  # one of decision's
        labels=labels,
        note=note or None,
        saw_model_answer=saw,
        duration_ms=decision.duration_ms,
    )


def verdict_of(item: Item, decision: Decision, *, pseudonym: str, now: datetime) -> VerdictMessage:
    """Return the message.

    Args:
        item: as stored.
        decision: as ``fitting`` returns it.
        pseudonym: of the reviewer.
        now: the time.
    """
    return VerdictMessage(
        schema=SCHEMA,
        review_id=item.review_id,
        id=item.record_id,
        task=item.task,
        action=decision.action,
        labels=None if decision.labels is None else list(decision.labels),
        model_labels=None if item.model_labels is None else list(item.model_labels),
        model_confidence=item.confidence,
        model_probabilities=None if item.probabilities is None else dict(item.probabilities),
        raw_probabilities=None if item.raw_probabilities is None else dict(item.raw_probabilities),
        saw_model_answer=decision.saw_model_answer,
        reviewer=pseudonym,
        decided_at=now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        duration_ms=decision.duration_ms,
        has_note=decision.note is not None,
        look=item.look,
        purpose=item.purpose,
        reasons=list(item.reasons),  # type: ignore[arg-type]  # as they arrived, validated
        review_probability=item.review_probability,
        deployment_id=item.deployment_id,
        model_digest=item.model_digest,
        calibration_id=item.calibration_id,
        threshold_set_id=item.threshold_set_id,
        source=item.source,
        appeal=_appeal(item, decision),
    )


def _appeal(item: Item, decision: Decision) -> VerdictAppeal | None:
    """Return what the decision means for an appeal; None: there is none."""
    if item.appeal_id is None:
        return None
    outcome: Literal["upheld", "overturned"] | None = None
    if decision.labels is not None:
        stays = item.appealed_labels is not None and _same(decision.labels, item.appealed_labels)
        outcome = "upheld" if stays else "overturned"
    first = item.review_id.rpartition("#appeal/")[0]
    return VerdictAppeal(appeal_id=item.appeal_id, review_id=first, outcome=outcome)


def undecided(item: Item) -> VerdictMessage:
    """Return the verdict of nobody: it says what was reviewed, and has no decision."""
    nobody = Decision("unsure", saw_model_answer=False)
    return verdict_of(item, nobody, pseudonym="-", now=item.arrived_at)
