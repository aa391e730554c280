"""A store of the console in memory, for tests of the pages; the real one has tests of its own."""

# ruff: noqa: D102 the protocol says what each method promises

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from streamlabel.console.store.items import (
    AlikeItems,
    AuditCount,
    Decision,
    Event,
    Gold,
    Item,
    Lease,
    QueueCount,
    QueueCounts,
    Role,
    Search,
    User,
    VerdictRow,
)
from streamlabel.console.store.verdicts import fitting
from streamlabel.consumer.output.verdict import VerdictMessage, VerdictSource
from streamlabel.errors import (
    ItemGoneError,
    StaleLeaseError,
    StoreUnavailableError,
    UndoExpiredError,
    UserUnknownError,
)

__all__ = ["BEGIN", "MemoryStore", "an_item"]

BEGIN = datetime(2026, 11, 29, 12, tzinfo=UTC)


def an_item(number: int, text: str | None = "a text", **changed: object) -> Item:
    """Return an open item whose model is not sure between spam and other."""
    item = Item(
        item_id=number,
        review_id=f"r-{number}",
        record_id=f"r-{number}",
        task=None,
        text=text,
        text_truncated=False,
        model_labels=("spam",),
        confidence=0.61,
        probabilities={"spam": 0.61, "other": 0.3, "threat": 0.09},
        prediction_set=("spam", "other"),
        threshold=0.85,
        reasons=("low_confidence",),
        purpose="review",
        review_probability=1.0,
        metadata=None,
        key=None,
        deployment_id="d-1",
        model_digest=None,
        calibration_id=None,
        threshold_set_id=None,
        source=VerdictSource(topic="texts", partition=0, offset=number),
        event_time_ms=0,
        arrived_at=BEGIN,
        due_at=None,
        priority=0.0,
        look=1,
        state="open",
        near_key=None,
    )
    return replace(item, **changed)  # type: ignore[arg-type]  # fields of the test's choice


class MemoryStore:
    """Implements ``Store`` as far as the pages need it: leases, verdicts, undo, accounts.

    Attributes:
        items: by id.
        decided: (reviewer, item id, decision), in order, undone ones removed.
        rows: what ``reviewed`` returns.
        messages: what ``last_verdicts`` returns.
        broken: reason with which every call fails; None: it works.
    """

    def __init__(self, items: Sequence[Item] = (), users: Sequence[User] = ()) -> None:
        self.items = {item.item_id: item for item in items}
        self.accounts = {user.name: user for user in users}
        self.leases: dict[int, Lease] = {}
        self.decided: list[tuple[str, int, Decision]] = []
        self.rows: list[VerdictRow] = []
        self.messages: list[VerdictMessage] = []
        self.events: list[Event] = []
        self.released: list[int] = []
        self.gold: dict[int, Gold] = {}
        self.broken: str | None = None
        self._generation = 0

    def _check(self) -> None:
        if self.broken is not None:
            raise StoreUnavailableError(self.broken, "the database does not work")

    def _lease(self, item_id: int, reviewer: str, now: datetime) -> Lease:
        self._generation += 1
        lease = Lease(item_id, reviewer, self._generation, now + timedelta(minutes=5))
        self.leases[item_id] = lease
        self.items[item_id] = replace(self.items[item_id], state="leased")
        return lease

    def _valid(self, lease: Lease) -> None:
        held = self.leases.get(lease.item_id)
        if held is None or held.generation != lease.generation:
            raise StaleLeaseError("the lease is over")

    async def next_item(
        self, *, reviewer: str, tasks: Collection[str | None] | None, now: datetime
    ) -> tuple[Item, Lease] | None:
        self._check()
        held = [i for i, lease in self.leases.items() if lease.reviewer == reviewer]
        waiting = [
            item.item_id
            for item in self.items.values()
            if item.state == "open" and (tasks is None or item.task in tasks)
        ]
        for item_id in held + waiting:
            return self.items[item_id], self._lease(item_id, reviewer, now)
        return None

    async def renew(self, lease: Lease, *, now: datetime) -> Lease:
        self._check()
        self._valid(lease)
        return replace(lease, until=now + timedelta(minutes=5))

    async def release(self, lease: Lease, *, now: datetime) -> None:
        self._check()
        held = self.leases.get(lease.item_id)
        if held is not None and held.generation == lease.generation:
            del self.leases[lease.item_id]
            self.items[lease.item_id] = replace(self.items[lease.item_id], state="open")
            self.released.append(lease.item_id)

    async def decide(self, lease: Lease, decision: Decision, *, now: datetime) -> VerdictMessage:
        self._check()
        self._valid(lease)
        del self.leases[lease.item_id]
        item = self.items[lease.item_id]
        if item.text is None:
            raise ItemGoneError("the item was erased")
        fitting(decision, item)  # refuses what the databases refuse
        self._decide(item, lease.reviewer, decision)
        labels = decision.labels if decision.action == "correct" else item.model_labels
        decided = decision.action in {"confirm", "correct"}
        return VerdictMessage(
            review_id=item.review_id,
            id=item.record_id,
            action=decision.action,
            labels=list(labels or ()) if decided else None,
            saw_model_answer=decision.saw_model_answer,
            reviewer="pseudonym",
            decided_at="2026-11-29T12:00:00Z",
            review_probability=None,
        )

    def _decide(self, item: Item, reviewer: str, decision: Decision) -> None:
        labels = decision.labels if decision.action == "correct" else item.model_labels
        self.items[item.item_id] = replace(item, state="decided", labels=labels)
        self.decided.append((reviewer, item.item_id, decision))

    async def undo(self, *, reviewer: str, item_id: int, now: datetime) -> Lease:
        self._check()
        found = [each for each in self.decided if each[:2] == (reviewer, item_id)]
        if not found:
            raise UndoExpiredError("it was not theirs, or is too long ago")
        self.decided.remove(found[-1])
        self.items[item_id] = replace(self.items[item_id], labels=None)
        return self._lease(item_id, reviewer, now)

    async def alike(self, item: Item, *, limit: int) -> AlikeItems:
        same = tuple(
            each.item_id
            for each in self.items.values()
            if each.state == "open" and each.text == item.text and not each.is_blind
        )
        texts = tuple(self.items[each].text or "" for each in same[:8])
        return AlikeItems(same[:limit], len(same) > limit, texts)

    async def decide_alike(
        self, lease: Lease, decision: Decision, item_ids: Collection[int], *, now: datetime
    ) -> int:
        await self.decide(lease, decision, now=now)
        for item_id in item_ids:
            self._decide(self.items[item_id], lease.reviewer, decision)
        return len(item_ids) + 1

    async def neighbours(self, item: Item, *, limit: int) -> Sequence[Item]:
        return [
            each
            for each in self.items.values()
            if item.key and each.key == item.key and each.item_id != item.item_id
        ][:limit]

    async def search(self, query: Search, *, limit: int) -> Sequence[Item]:
        self._check()
        return [
            item
            for item in self.items.values()
            if query.id in {None, item.record_id, item.review_id}
            and (query.label is None or query.label in (item.model_labels or ()))
            and query.state in {None, item.state}
        ][:limit]

    async def item(self, item_id: int) -> Item:
        self._check()
        if item_id not in self.items:
            raise ItemGoneError("there is no such item")
        return self.items[item_id]

    async def history(self, item_id: int) -> Sequence[Event]:
        return [event for event in self.events if event.item_id == item_id]

    async def reopen(self, item_id: int, *, by: str, note: str, now: datetime) -> None:
        if self.items[item_id].state != "decided":
            raise ItemGoneError("it is not decided")
        self.items[item_id] = replace(self.items[item_id], state="open", labels=None)
        self.events.append(Event(at=now, actor=by, action="reopened", item_id=item_id, note=note))

    async def waiting(self) -> Mapping[str | None, int]:
        self._check()
        return Counter(each.task for each in self.items.values() if each.state == "open")

    async def counts(self, *, now: datetime) -> QueueCounts:
        self._check()
        states = Counter(
            ((item.task, (item.model_labels or (None,))[0]), item.state)
            for item in self.items.values()
        )
        return QueueCounts(
            queues=[
                QueueCount(
                    task=task,
                    label=label,
                    open=states[(task, label), "open"],
                    leased=states[(task, label), "leased"],
                    decided=states[(task, label), "decided"],
                    oldest_at=BEGIN,
                    arrived_last_hour=states[(task, label), "open"],
                    decided_last_hour=states[(task, label), "decided"],
                )
                for task, label in dict.fromkeys(queue for queue, _ in states)
            ],
            audits=self._audits(now),
            refused={},
            outbox=0,
        )

    def _audits(self, now: datetime) -> list[AuditCount]:
        audits = [each for each in self.items.values() if each.purpose == "audit"]
        waiting = [each for each in audits if each.state in {"open", "leased"}]
        if not audits:
            return []
        return [
            AuditCount(
                task=None,
                open=len(waiting),
                overdue=sum(now - each.arrived_at >= timedelta(days=1) for each in waiting),
                erased=sum(each.state == "purged" for each in audits),
                oldest_at=min((each.arrived_at for each in waiting), default=None),
            )
        ]

    async def exposure(self, *, reviewer: str, since: datetime) -> Mapping[str, int]:
        return Counter(
            (self.items[item_id].model_labels or ("?",))[0]
            for who, item_id, _ in self.decided
            if who == reviewer
        )

    async def decided_by(self, reviewer: str, *, since: datetime) -> int:
        return sum(who == reviewer for who, _, _ in self.decided)

    async def reviewed(self, *, since: datetime, until: datetime) -> Sequence[VerdictRow]:
        self._check()
        return self.rows

    async def last_verdicts(self, *, limit: int) -> Sequence[VerdictMessage]:
        self._check()
        return self.messages[:limit]

    async def append_event(self, event: Event) -> None:
        self.events.append(event)

    async def add_gold(
        self, item_id: int, *, labels: Collection[str], by: str, now: datetime
    ) -> Gold:
        found = Gold(gold_id=len(self.gold) + 1, item_id=item_id, task=None, labels=tuple(labels))
        self.gold[found.gold_id] = found
        return found

    async def remove_gold(self, gold_id: int, *, by: str, now: datetime) -> None:
        self.gold[gold_id] = replace(self.gold[gold_id], is_enabled=False)

    async def golds(self) -> Sequence[Gold]:
        return list(self.gold.values())

    async def users(self) -> Sequence[User]:
        return list(self.accounts.values())

    async def user(self, name: str) -> User | None:
        self._check()
        return self.accounts.get(name)

    async def add_user(self, user: User, *, by: str, now: datetime) -> None:
        self.accounts[user.name] = user

    async def set_role(self, name: str, role: Role, *, by: str, now: datetime) -> None:
        self.accounts[name] = replace(self.accounts[name], role=role)

    async def set_tasks(
        self, name: str, tasks: Sequence[str] | None, *, by: str, now: datetime
    ) -> None:
        self.accounts[name] = replace(
            self.accounts[name], tasks=None if tasks is None else tuple(tasks)
        )

    async def set_password(self, name: str, password_hash: str, *, by: str, now: datetime) -> None:
        self.accounts[name] = replace(self.accounts[name], password_hash=password_hash)

    async def remove_user(self, name: str, *, by: str, now: datetime) -> None:
        if name not in self.accounts:
            raise UserUnknownError(f"there is no account {name}")
        self.accounts[name] = replace(self.accounts[name], is_disabled=True)

    async def health(self) -> None:
        self._check()

    async def close(self) -> None:
        return
