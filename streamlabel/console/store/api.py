"""What the store of the console promises: to the pages (``Store``), and to the topics.

Every method may raise StoreUnavailableError; then nothing was changed, and nothing may be
acknowledged to anybody. Changes are durable when a method returns. The time is an argument, aware
and in UTC; a clock that jumps makes leases expire early at worst, and ends none later than its
time to live after the jump.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from streamlabel.console.store.items import (
    AlikeItems,
    Arrival,
    Decision,
    Event,
    Gold,
    Item,
    Lease,
    QueueCounts,
    Role,
    Search,
    User,
    VerdictRow,
)
from streamlabel.consumer.core.records import Position, TopicPartition
from streamlabel.consumer.output.appeal import AppealMessage
from streamlabel.consumer.output.verdict import VerdictMessage

__all__ = ["Intake", "Outbox", "OutboxRow", "Refused", "Store"]


class Store(Protocol):
    """What the pages use."""

    async def next_item(
        self, *, reviewer: str, tasks: Collection[str | None] | None, now: datetime
    ) -> tuple[Item, Lease] | None:
        """Return the most urgent open item and a lease of it; None if there is none for them.

        A reviewer holds one lease. While it lasts the same item is returned, with a new generation:
        another tab takes it over, and a page that was loaded again loses nothing.

        Args:
            reviewer: account.
            tasks: whose items; None as a member: records without a task. None: of all tasks.
            now: the time.

        Raises:
            ReviewerRemovedError: the account is disabled.
        """

    async def renew(self, lease: Lease, *, now: datetime) -> Lease:
        """Return the lease with a new end. Raises StaleLeaseError."""

    async def release(self, lease: Lease, *, now: datetime) -> None:
        """Give the item back undecided; a stale lease changes nothing."""

    async def decide(self, lease: Lease, decision: Decision, *, now: datetime) -> VerdictMessage:
        """Store a decision, and its verdict for the topic, where it goes after the undo time.

        ``skip`` puts the item back for others; ``escalate`` also makes a second look, as a random
        share of all decisions does.

        Raises:
            StaleLeaseError: the lease is over, or the item was leased again.
            ItemGoneError: the item was erased or decided meanwhile.
            VerdictError: the decision does not fit the item.
        """

    async def undo(self, *, reviewer: str, item_id: int, now: datetime) -> Lease:
        """Take back their decision about an item, whose lease they get again.

        What was decided together with it is taken back, too, and open.

        Raises:
            UndoExpiredError: the time is over, the verdict left, or it was not theirs.
        """

    async def alike(self, item: Item, *, limit: int) -> AlikeItems:
        """Return the first open items with the same text, or nearly the same, in order of id."""

    async def decide_alike(
        self, lease: Lease, decision: Decision, item_ids: Collection[int], *, now: datetime
    ) -> int:
        """Decide the leased item, and in the same way those of the others that are still alike.

        Returns:
            How many were decided, with the leased one. Raises as ``decide``.
        """

    async def neighbours(self, item: Item, *, limit: int) -> Sequence[Item]:
        """Return items with the same thread, or else the same key, nearest in time first."""

    async def search(self, query: Search, *, limit: int) -> Sequence[Item]:
        """Return matching items, the last arrived first."""

    async def item(self, item_id: int) -> Item:
        """Return an item. Raises ItemGoneError if there is none of this id."""

    async def history(self, item_id: int) -> Sequence[Event]:
        """Return the audit log of an item and of its second looks, oldest first."""

    async def reopen(self, item_id: int, *, by: str, note: str, now: datetime) -> None:
        """Open a decided item again; its verdict is withdrawn from the topic.

        Raises:
            ItemGoneError: it was erased, or is not decided.
        """

    async def waiting(self) -> Mapping[str | None, int]:
        """Return how many items are open, by task; None: records without a task."""

    async def counts(self, *, now: datetime) -> QueueCounts:
        """Return the numbers of the queue."""

    async def exposure(self, *, reviewer: str, since: datetime) -> Mapping[str, int]:
        """Return how many texts they read since then, by the model's label, or else theirs.

        Texts that were decided together with another one were not on their screen.
        """

    async def decided_by(self, reviewer: str, *, since: datetime) -> int:
        """Return how many items they decided since then."""

    async def reviewed(self, *, since: datetime, until: datetime) -> Sequence[VerdictRow]:
        """Return the verdicts that hold, decided in [since, until), in order."""

    async def last_verdicts(self, *, limit: int) -> Sequence[VerdictMessage]:
        """Return the last verdicts that hold about first looks, as messages, latest first."""

    async def append_event(self, event: Event) -> None:
        """Append an entry to the audit log; its id and hash are computed here."""

    async def add_gold(
        self, item_id: int, *, labels: Collection[str], by: str, now: datetime
    ) -> Gold:
        """Show an item again to measure reviewers. Raises ItemGoneError if its text is erased."""

    async def remove_gold(self, gold_id: int, *, by: str, now: datetime) -> None:
        """Show it no more."""

    async def golds(self) -> Sequence[Gold]:
        """Return all gold items."""

    async def users(self) -> Sequence[User]:
        """Return all accounts, removed ones included, by name."""

    async def user(self, name: str) -> User | None:
        """Return an account; None if there is none."""

    async def add_user(self, user: User, *, by: str, now: datetime) -> None:
        """Add an account, or replace a removed one. Raises UserExistsError."""

    async def set_role(self, name: str, role: Role, *, by: str, now: datetime) -> None:
        """Change the role. Raises UserUnknownError."""

    async def set_tasks(
        self, name: str, tasks: Sequence[str] | None, *, by: str, now: datetime
    ) -> None:
        """Change whose queues they see; None: all. Raises UserUnknownError."""

    async def set_password(self, name: str, password_hash: str, *, by: str, now: datetime) -> None:
        """Change the hash of the password. Raises UserUnknownError."""

    async def remove_user(self, name: str, *, by: str, now: datetime) -> None:
        """Disable an account and release its lease. Raises UserUnknownError."""

    async def health(self) -> None:
        """Return if the database can be written. Raises StoreUnavailableError with the reason."""

    async def close(self) -> None:
        """Close all connections."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A record of the review topic that cannot become an item.

    Attributes:
        reason: one word: ``not_json``, ``version``, ``no_text``, ``schema``, ``id_reused``.
        detail: what is wrong, without the text.
    """

    position: Position
    reason: str
    detail: str


class Intake(Protocol):
    """What the reader of the review topic uses."""

    async def positions(self) -> Mapping[TopicPartition, int]:
        """Return the next offset of each partition that was read before."""

    async def arrive(
        self,
        arrivals: Sequence[tuple[Position, Arrival]],
        refused: Sequence[Refused],
        *,
        appeals: Sequence[tuple[Position, AppealMessage, Arrival | None]] = (),
        begin: Mapping[TopicPartition, int],
        end: Mapping[TopicPartition, int],
        now: datetime,
    ) -> int:
        """Store records and the positions behind them, in one transaction.

        What another console has stored already is left out; so is a review that is known.

        Args:
            arrivals: with the position on the review topic.
            refused: kept with position and reason.
            appeals: with the item of one whose record was never in review, if it has the text.
            begin: the position of each partition before these records.
            end: its next offset after them.
            now: the time.

        Returns:
            Number of new items.

        Raises:
            PositionsMovedError: stored positions are before ``begin``: read again from there.
        """

    async def reset_position(
        self, partition: TopicPartition, next_offset: int, *, why: str, now: datetime
    ) -> None:
        """Set a position that the topic no longer has; goes into the audit log."""


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A message for the verdicts topic; a value of None withdraws the verdict."""

    outbox_id: int
    key: str
    value: bytes | None
    due_at: datetime


class Outbox(Protocol):
    """What the sender of verdicts uses. One sender at a time, by a duty with an end."""

    async def take_duty(self, name: str, *, holder: str, ttl_s: float, now: datetime) -> bool:
        """Take, or keep, a duty that one process has at a time; False: another one has it."""

    async def drop_duty(self, name: str, *, holder: str) -> None:
        """Let another process take it at once."""

    async def take(self, *, limit: int, now: datetime) -> Sequence[OutboxRow]:
        """Return messages to send, in order; from now on their decisions cannot be undone."""

    async def sent(self, rows: Sequence[OutboxRow]) -> None:
        """Remove messages that are on the topic."""
