"""What the store of the console takes and returns: plain, frozen values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from pydantic import JsonValue

from streamlabel.consumer.output.verdict import VerdictSource

__all__ = [
    "BLIND",
    "Action",
    "AlikeItems",
    "Arrival",
    "AuditCount",
    "Decision",
    "Event",
    "Gold",
    "Item",
    "Lease",
    "Purpose",
    "QueueCount",
    "QueueCounts",
    "Role",
    "Search",
    "State",
    "User",
    "VerdictRow",
]

Action = Literal["confirm", "correct", "unsure", "escalate", "skip"]
Purpose = Literal["review", "audit", "second_look", "gold", "appeal"]
State = Literal["open", "leased", "decided", "purged"]
Role = Literal["reviewer", "lead", "admin"]

# Purposes whose items are decided before the model's answer, or anybody's, is shown.
BLIND: frozenset[Purpose] = frozenset({"audit", "second_look", "gold"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One review record, decoded, before it is stored.

    Attributes:
        review_id: key of its verdict: the record's id, with the task before it if there is one.
        text_truncated: only the beginning of the text fitted into the review record.
        model_labels: what the model decided; None if it gave no usable answer.
        raw_probabilities: before calibration, if they differ.
        review_probability: with which it came to review, in (0, 1]; None if not known.
        key: of the Kafka record.
        near_key: equal for texts that differ in case, digits, punctuation or spaces at most; None
            if there are near_keys.
        near_keys: of the review record; nearly equal texts share one at least.
        thread: value of ``console.thread_path`` in the metadata.
        priority: larger first; see ``console.order``.
    """

    review_id: str
    record_id: str
    task: str | None
    text: str
    text_truncated: bool = False
    model_labels: tuple[str, ...] | None = None
    confidence: float | None = None
    probabilities: Mapping[str, float] | None = None
    raw_probabilities: Mapping[str, float] | None = None
    prediction_set: tuple[str, ...] | None = None
    threshold: float | None = None
    reasons: tuple[str, ...] = ()
    purpose: Purpose = "review"
    review_probability: float | None = None
    metadata: JsonValue = None
    key: bytes | None = None
    deployment_id: str | None = None
    model_digest: str | None = None
    calibration_id: str | None = None
    threshold_set_id: str | None = None
    source: VerdictSource
    event_time_ms: int
    due_at: datetime | None = None
    priority: float = 0.0
    near_key: str | None = None
    near_keys: tuple[str, ...] | None = None
    thread: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One review record, as stored. Fields that ``Arrival`` has, too, mean the same.

    Attributes:
        text: None: erased by the rules of retention, with metadata, key and notes.
        look: 1: the first look; 2: a second one, by another person.
        labels: what was decided; None unless the state is ``decided``, and for open second looks.
        appeal_id: with the purpose ``appeal``.
        appealed_labels: against which it is made; None: nothing was decided.
    """

    item_id: int
    review_id: str
    record_id: str
    task: str | None
    text: str | None
    text_truncated: bool
    model_labels: tuple[str, ...] | None
    confidence: float | None
    probabilities: Mapping[str, float] | None
    prediction_set: tuple[str, ...] | None
    threshold: float | None
    reasons: tuple[str, ...]
    purpose: Purpose
    review_probability: float | None
    metadata: JsonValue
    key: bytes | None
    deployment_id: str | None
    model_digest: str | None
    calibration_id: str | None
    threshold_set_id: str | None
    source: VerdictSource
    event_time_ms: int
    arrived_at: datetime
    due_at: datetime | None
    priority: float
    look: int
    state: State
    near_key: str | None
    near_keys: tuple[str, ...] | None = None
    raw_probabilities: Mapping[str, float] | None = None
    thread: str | None = None
    generation: int = 0
    labels: tuple[str, ...] | None = None
    appeal_id: str | None = None
    appealed_labels: tuple[str, ...] | None = None

    @property
    def is_blind(self) -> bool:
        """Whether the model's answer must not be shown before the decision."""
        return self.purpose in BLIND


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one reviewer to decide about one item, until a time.

    Attributes:
        generation: grows with every lease of the item; an older one is refused.
    """

    item_id: int
    reviewer: str
    generation: int
    until: datetime


@dataclass(frozen=True, slots=True)
class Decision:
    """What a reviewer decided.

    Attributes:
        labels: with ``correct``; ignored with the other actions (``confirm`` takes the model's).
        note: free text; stays in the database.
    """

    action: Action
    labels: tuple[str, ...] | None = None
    note: str | None = None
    saw_model_answer: bool = True
    duration_ms: int | None = None


@dataclass(frozen=True, slots=True)
class AlikeItems:
    """Open items with the same text, or nearly the same; none that is blind or leased.

    Attributes:
        item_ids: without the item itself; the first ones, as many as the limit allows.
        has_more: whether there are further ones.
        texts: the beginnings of the first few, to see what they are.
    """

    item_ids: tuple[int, ...]
    has_more: bool = False
    texts: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Which items to find: all that is given must hold.

    Attributes:
        id: of the record, or the review id; exactly.
        label: among the model's labels.
        reviewer: who decided it.
        state: as stored.
        task: "" for records without a task.
    """

    id: str | None = None
    label: str | None = None
    reviewer: str | None = None
    state: State | None = None
    task: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One entry of the audit log.

    Attributes:
        event_id: 0: not stored yet.
        actor: account; "console" for what no person did.
        action: one word, for example ``decided``, ``leased``, ``reopened``, ``user_added``.
        detail: values that are never erased: no text, no note.
        note: may be erased later, without breaking the chain.
        hash: of this entry and, through the one before, of all earlier ones; hexadecimal.
    """

    at: datetime
    actor: str
    action: str
    item_id: int | None = None
    detail: Mapping[str, JsonValue] = field(default_factory=dict)
    note: str | None = None
    event_id: int = 0
    hash: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueCount:
    """One task and model's label; label None: no usable answer."""

    task: str | None
    label: str | None
    open: int
    leased: int
    decided: int
    oldest_at: datetime | None
    arrived_last_hour: int
    decided_last_hour: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditCount:
    """First looks at the audits of one task: while nobody decides them, no promise is checked.

    Attributes:
        open: without a decision, those on somebody's screen included.
        overdue: of them those that arrived ``console.audit_overdue_h`` ago, or earlier.
        erased: whose text was erased before anybody decided; nobody can any more.
        oldest_at: arrival of the oldest open one; None: none is open.
    """

    task: str | None
    open: int
    overdue: int
    erased: int
    oldest_at: datetime | None

    def oldest_s(self, *, now: datetime) -> float:
        """Return the age of the oldest open one in seconds; 0 without one, or in the future."""
        if self.oldest_at is None:
            return 0.0
        return max(0.0, (now - self.oldest_at).total_seconds())


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueCounts:
    """The queue in numbers.

    Attributes:
        audits: by task, of tasks that had one.
        refused: records of the review topic that could not become items, by reason.
        outbox: verdicts that are not on the topic yet.
    """

    queues: Sequence[QueueCount]
    audits: Sequence[AuditCount] = ()
    refused: Mapping[str, int]
    outbox: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictRow:
    """A verdict that holds (not undone, not reopened), for statistics.

    Attributes:
        review_id: of the item; second looks share ``record_id`` and ``task`` with the first look.
        gold_labels: the known answer, for gold items.
    """

    verdict_id: int
    item_id: int
    review_id: str
    record_id: str
    task: str | None
    reviewer: str
    pseudonym: str
    action: Action
    labels: tuple[str, ...] | None
    model_labels: tuple[str, ...] | None
    confidence: float | None
    probabilities: Mapping[str, float] | None
    saw_model_answer: bool
    duration_ms: int | None
    decided_at: datetime
    look: int
    purpose: Purpose
    review_probability: float | None
    gold_labels: tuple[str, ...] | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gold:
    """An item with a known answer, which is shown again to measure reviewers."""

    gold_id: int
    item_id: int
    task: str | None
    labels: tuple[str, ...]
    is_enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """An account.

    Attributes:
        password_hash: argon2; None: cannot log in with a password.
        tasks: whose queues they see; None: all.
        is_disabled: removed; the row stays for the history.
    """

    name: str
    role: Role = "reviewer"
    password_hash: str | None = None
    tasks: tuple[str, ...] | None = None
    is_disabled: bool = False
