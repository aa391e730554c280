"""What the store of the review console promises, on both databases."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from streamlabel.config.console import ConsoleSettings
from streamlabel.console.store import audit_log
from streamlabel.console.store.api import Intake, Outbox, Refused, Store
from streamlabel.console.store.items import (
    AlikeItems,
    Arrival,
    Decision,
    Event,
    Lease,
    Search,
    User,
)
from streamlabel.console.store.opening import SqlStore, open_store
from streamlabel.console.store.tables import near_duplicate
from streamlabel.consumer.core.records import Position, TopicPartition
from streamlabel.consumer.output.appeal import AppealMessage
from streamlabel.consumer.output.near_duplicates import NearDuplicates
from streamlabel.consumer.output.verdict import read_verdict
from streamlabel.errors import (
    ItemGoneError,
    PositionsMovedError,
    ReviewerRemovedError,
    StaleLeaseError,
    UndoExpiredError,
    UserExistsError,
    UserUnknownError,
    VerdictError,
)
from testing.postgresql_server import PostgresqlServer
from tests.console_items import NOW, arrival, filled, later
from tests.verdicts import a_verdict

Make = Callable[..., Any]
HAM = Decision("correct", ("ham",), duration_ms=900)
PARTITION = TopicPartition("review", 0)


class Draws:
    """Numbers in [0, 1) that the test chooses: nothing is drawn unless it says so."""

    def __init__(self) -> None:
        self.next = 0.999

    def __call__(self) -> float:
        """Return the next number."""
        return self.next


@pytest.fixture
def draws() -> Draws:
    return Draws()


@pytest.fixture
async def make(new_database: Callable[[], str], draws: Draws) -> AsyncIterator[Make]:
    """Return a function that opens a store; the address of another one opens the same database."""
    stores: list[SqlStore] = []
    addresses: list[str] = []

    async def opened(*, again: bool = False, **changes: Any) -> SqlStore:  # noqa: ANN401 any setting
        if not again:
            addresses.append(new_database())
        settings = ConsoleSettings(database=addresses[-1], **changes)
        stores.append(await open_store(settings, random=draws))
        return stores[-1]

    yield opened
    for store in stores:
        await store.close()


def _checked(store: SqlStore) -> tuple[Store, Intake, Outbox]:
    """For the type checker: the store is what the protocols say."""
    return store, store, store


@pytest.fixture
async def store(make: Make) -> SqlStore:
    found: SqlStore = await make()
    assert all(each is found for each in _checked(found))
    return found


async def leased(store: SqlStore, reviewer: str, seconds: float = 0) -> Lease:
    found = await store.next_item(reviewer=reviewer, tasks=None, now=later(seconds))
    assert found is not None
    return found[1]


async def sent(store: SqlStore, seconds: float = 60) -> list[tuple[str, bytes | None]]:
    """Return what goes to the topic now, as the sender does."""
    rows = await store.take(limit=100, now=later(seconds))
    await store.sent(rows)
    return [(row.key, row.value) for row in rows]


# Leases


async def test_the_most_urgent_item_comes_first(store: SqlStore) -> None:
    await filled(store, [arrival(3), arrival(1), arrival(2)])
    order = []
    for name in ("ann", "bob", "cem"):
        found = await store.next_item(reviewer=name, tasks=None, now=NOW)
        assert found is not None
        order.append(found[0].review_id)
    assert order == ["r1", "r2", "r3"]
    assert await store.next_item(reviewer="dan", tasks=None, now=NOW) is None


async def test_an_item_comes_back_as_it_arrived(store: SqlStore) -> None:
    text = "nul \x00, sign \U0001f600, \u202e, end"
    await filled(store, [arrival(1, text=text, metadata={"a": [1, None]}, key=b"\x00\xff")])
    found = await store.next_item(reviewer="ann", tasks=None, now=NOW)
    assert found is not None
    item = found[0]
    sent_in = arrival(1, text=text, metadata={"a": [1, None]}, key=b"\x00\xff")
    for name in ("text", "metadata", "key", "probabilities", "prediction_set", "source", "reasons"):
        assert getattr(item, name) == getattr(sent_in, name)
    assert (item.state, item.look, item.arrived_at) == ("leased", 1, NOW)


async def test_only_the_tasks_asked_for_are_returned(store: SqlStore) -> None:
    await filled(store, [arrival(1), arrival(2, task="tone"), arrival(3, task="topic")])
    for tasks, expected in (({"topic"}, "topic"), ({"tone", None}, None), ({"tone"}, "tone")):
        found = await store.next_item(reviewer=f"of {expected}", tasks=tasks, now=NOW)
        assert found is not None
        assert found[0].task == expected
    assert await store.next_item(reviewer="ann", tasks={"other"}, now=NOW) is None


async def test_a_page_that_is_loaded_again_gets_its_item_again(store: SqlStore) -> None:
    await filled(store, [arrival(1), arrival(2)])
    first = await leased(store, "ann")
    second = await leased(store, "ann")
    assert first.item_id == second.item_id
    with pytest.raises(StaleLeaseError, match="another tab"):
        await store.decide(first, HAM, now=NOW)
    await store.decide(second, HAM, now=NOW)


async def test_an_expired_lease_comes_back_and_is_refused(store: SqlStore) -> None:
    await filled(store, [arrival(1)])
    first = await leased(store, "ann")
    assert await store.next_item(reviewer="bob", tasks=None, now=later(299.9)) is None
    second = await leased(store, "bob", 300)
    assert second.generation > first.generation
    for call in (
        store.decide(first, HAM, now=later(300)),
        store.renew(first, now=later(300)),
    ):
        with pytest.raises(StaleLeaseError, match="the time for this item was over"):
            await call
    await store.release(first, now=later(300))  # changes nothing
    await store.decide(second, HAM, now=later(301))


async def test_a_lease_that_is_over_is_refused_even_if_nobody_took_the_item(
    store: SqlStore,
) -> None:
    await filled(store, [arrival(1)])
    lease = await leased(store, "ann")
    with pytest.raises(StaleLeaseError, match="nothing was stored"):
        await store.decide(lease, HAM, now=later(300))
    assert await sent(store, 900) == []


async def test_a_renewed_lease_lasts_longer(store: SqlStore) -> None:
    await filled(store, [arrival(1)])
    lease = await store.renew(await leased(store, "ann"), now=later(200))
    assert lease.until == later(500)
    await store.decide(lease, HAM, now=later(499))


async def test_a_released_item_goes_to_others_at_once(store: SqlStore) -> None:
    await filled(store, [arrival(1)])
    lease = await leased(store, "ann")
    await store.release(lease, now=NOW)
    assert (await leased(store, "bob")).item_id == lease.item_id


@pytest.mark.parametrize(
    ("jump_s", "generation"),
    [(-86_400, 2), pytest.param(86_400, 3, id="the call in between gets a lease, too")],
)
async def test_no_lease_outlives_its_time_after_the_clock_has_jumped(
    store: SqlStore, jump_s: int, generation: int
) -> None:
    await filled(store, [arrival(1)])
    await leased(store, "ann")
    await store.next_item(reviewer="bob", tasks=None, now=later(jump_s))
    assert (await leased(store, "bob", jump_s + 301)).generation == generation


async def test_a_removed_reviewer_holds_and_gets_nothing(store: SqlStore) -> None:
    await filled(store, [arrival(1)])
    await store.add_user(User(name="ann"), by="root", now=NOW)
    lease = await leased(store, "ann")
    await store.remove_user("ann", by="root", now=NOW)
    assert (await leased(store, "bob")).item_id == lease.item_id
    with pytest.raises(StaleLeaseError, match="nothing was stored"):
        await store.decide(lease, HAM, now=NOW)
    with pytest.raises(ReviewerRemovedError, match="account was removed"):
        await store.next_item(reviewer="ann", tasks=None, now=NOW)


async def test_no_two_of_many_get_the_same_item(make: Make) -> None:
    one = await make()
    other = await make(again=True)  # another console on the same database
    await filled(one, [arrival(number) for number in range(40)])

    async def review(store: SqlStore, name: str) -> list[int]:
        done = []
        while (found := await store.next_item(reviewer=name, tasks=None, now=NOW)) is not None:
            await store.decide(found[1], HAM, now=NOW)
            done.append(found[0].item_id)
        return done

    names = [f"reviewer {number}" for number in range(6)]
    shares = await asyncio.gather(
        *(review((one, other)[number % 2], name) for number, name in enumerate(names))
    )
    decided = [item_id for share in shares for item_id in share]
    assert len(decided) == len(set(decided)) == 40
    assert len(await sent(one)) == 40


# Decisions


async def test_a_verdict_carries_what_learning_needs(store: SqlStore) -> None:
    await filled(store, [arrival(1, task="tone", review_id="tone/r1")])
    found = await store.decide(await leased(store, "ann"), HAM, now=later(1))
    [(key, value)] = await sent(store)
    assert key == "tone/r1"
    assert value is not None
    verdict = read_verdict(value)
    assert verdict == found
    assert verdict.model_dump(by_alias=True) == {
        "schema": "streamlabel.verdict/v1",
        "review_id": "tone/r1",
        "id": "r1",
        "task": "tone",
        "action": "correct",
        "labels": ["ham"],
        "model_labels": ["spam"],
        "model_confidence": 0.6,
        "model_probabilities": {"spam": 0.6, "ham": 0.4},
        "raw_probabilities": None,
        "saw_model_answer": True,
        "reviewer": store.rules.pseudonym("ann"),
        "decided_at": "2026-11-29T12:00:01.000000Z",
        "duration_ms": 900,
        "has_note": False,
        "look": 1,
        "purpose": "review",
        "reasons": ["low_confidence"],
        "review_probability": 1.0,
        "deployment_id": "d1",
        "model_digest": "m1",
        "calibration_id": "c1",
        "threshold_set_id": "t1",
        "source": {"topic": "texts", "partition": 0, "offset": 1},
        "appeal": None,
    }
    assert "ann" not in value.decode()


async def test_the_action_follows_from_the_labels(store: SqlStore) -> None:
    await filled(store, [arrival(1), arrival(2), arrival(3, model_labels=None, confidence=None)])
    same = Decision("correct", ("spam",))
    assert (await store.decide(await leased(store, "ann"), same, now=NOW)).action == "confirm"
    lease = await leased(store, "ann")
    for wrong, message in (
        (Decision("correct"), "choose labels"),
        (Decision("confirm", ("ham",)), "not the labels of the model"),
    ):
        with pytest.raises(VerdictError, match=message):
            await store.decide(lease, wrong, now=NOW)
    await store.decide(lease, Decision("confirm"), now=NOW)
    lease = await leased(store, "ann")
    with pytest.raises(VerdictError, match="the model gave no answer"):
        await store.decide(lease, Decision("confirm"), now=NOW)
    assert (await store.decide(lease, Decision("unsure"), now=NOW)).labels is None


@pytest.mark.parametrize("purpose", ["audit", "second_look", "gold"])
async def test_a_blind_item_is_never_said_to_be_seen(store: SqlStore, purpose: str) -> None:
    await filled(store, [arrival(1, purpose=purpose)])
    lease = await leased(store, "ann")
    with pytest.raises(VerdictError, match="without the model's answer"):
        await store.decide(lease, Decision("confirm"), now=NOW)
    verdict = await store.decide(lease, Decision("correct", ("spam",)), now=NOW)
    assert (verdict.saw_model_answer, verdict.action) == (False, "confirm")


async def test_a_skipped_item_goes_to_others_only(store: SqlStore) -> None:
    await filled(store, [arrival(1)])
    lease = await leased(store, "ann")
    await store.decide(lease, Decision("skip"), now=NOW)
    assert await store.next_item(reviewer="bob", tasks=None, now=NOW) is None  # may be undone
    assert await store.next_item(reviewer="ann", tasks=None, now=later(10)) is None
    assert (await leased(store, "bob", 10)).item_id == lease.item_id


async def test_an_escalation_gets_a_blind_second_look_by_somebody_else(store: SqlStore) -> None:
    await filled(store, [arrival(1), arrival(2)])
    first = await leased(store, "ann")
    await store.decide(first, Decision("escalate", note="unclear"), now=NOW)
    assert (await leased(store, "ann", 20)).item_id != first.item_id
    found = await store.next_item(reviewer="bob", tasks=None, now=later(20))
    assert found is not None
    item, lease = found
    assert (item.review_id, item.look, item.purpose) == ("r1#2", 2, "second_look")
    assert item.is_blind
    assert item.labels is None
    assert "unclear" not in repr(item)
    assert await store.history(item.item_id) == [
        each for each in await store.history(item.item_id) if each.actor != "ann"
    ]
    verdict = await store.decide(lease, HAM, now=later(21))
    assert (verdict.review_id, verdict.id, verdict.look) == ("r1#2", "r1", 2)
    assert await store.next_item(reviewer="cem", tasks=None, now=later(60)) is None  # no third


async def test_a_random_share_gets_a_second_look(store: SqlStore, draws: Draws) -> None:
    await filled(store, [arrival(1), arrival(2)])
    draws.next = 0.049
    await store.decide(await leased(store, "ann"), HAM, now=NOW)
    draws.next = 0.05
    await store.decide(await leased(store, "ann"), HAM, now=NOW)
    found = await store.search(Search(id="r1#2"), limit=5)
    assert [each.look for each in found] == [2]
    assert await store.search(Search(id="r2#2"), limit=5) == []


async def test_a_gold_item_is_shown_once_to_each_other_reviewer(
    store: SqlStore, draws: Draws
) -> None:
    await filled(store, [arrival(1), arrival(2), arrival(3)])
    lease = await leased(store, "ann")
    await store.decide(lease, HAM, now=NOW)
    gold = await store.add_gold(lease.item_id, labels=["ham"], by="lead", now=NOW)
    draws.next = 0.019
    found = await store.next_item(reviewer="ann", tasks=None, now=NOW)
    assert found is not None
    assert found[0].purpose == "review"  # they decided the original
    found = await store.next_item(reviewer="bob", tasks=None, now=NOW)
    assert found is not None
    item, lease = found
    assert (item.purpose, item.text, item.review_probability) == ("gold", "text number 1", None)
    await store.release(lease, now=NOW)
    assert (await leased(store, "cem")).item_id != lease.item_id  # nobody else gets theirs
    draws.next = 0.019
    lease = await leased(store, "bob")
    draws.next = 0.999
    await store.decide(lease, Decision("correct", ("spam",)), now=NOW)
    draws.next = 0.019
    found = await store.next_item(reviewer="bob", tasks=None, now=NOW)
    assert found is None or found[0].purpose == "review"
    rows = await store.reviewed(since=NOW, until=later(1))
    assert [(row.gold_labels, row.labels) for row in rows if row.purpose == "gold"] == [
        (("ham",), ("spam",))
    ]
    await store.remove_gold(gold.gold_id, by="lead", now=NOW)
    assert [each.is_enabled for each in await store.golds()] == [False]


async def test_identical_and_near_texts_are_decided_together(store: SqlStore) -> None:
    same = {"text": "win now", "near_key": "n"}
    others = [
        arrival(2, **same),
        arrival(3, text="WIN  now", near_key="n"),
        arrival(4, **same, purpose="audit"),  # decided blind, so alone
        arrival(5, **same, task="tone"),
        arrival(6),
    ]
    await filled(store, [arrival(1, **same), *others])
    found = await store.next_item(reviewer="ann", tasks=None, now=NOW)
    assert found is not None
    item, lease = found
    alike = await store.alike(item, limit=10)
    assert alike == AlikeItems((2, 3))
    assert await store.alike(item, limit=1) == AlikeItems((2,), has_more=True)
    taken = await leased(store, "bob")
    assert taken.item_id == 2  # leased meanwhile: it stays theirs
    number = await store.decide_alike(lease, HAM, [2, 3, 4, 5, 6], now=NOW)
    assert number == 2
    rows = await store.reviewed(since=NOW, until=later(1))
    assert [(row.review_id, row.duration_ms) for row in rows] == [("r1", 900), ("r3", None)]
    assert await store.decided_by("ann", since=NOW) == 2
    assert await store.exposure(reviewer="ann", since=NOW) == {"spam": 1}  # read one only
    assert await store.waiting() == {None: 2, "tone": 1}


async def test_what_was_decided_together_is_taken_back_together(store: SqlStore) -> None:
    await filled(store, [arrival(number, near_key="n") for number in range(1, 5)])
    lease = await leased(store, "ann")
    taken = await leased(store, "bob")
    assert await store.decide_alike(lease, HAM, [2, 3, 4], now=NOW) == 3
    await store.decide(taken, HAM, now=NOW)  # another person, in the same millisecond
    again = await store.undo(reviewer="ann", item_id=lease.item_id, now=later(5))
    assert again.item_id == lease.item_id
    assert await store.waiting() == {None: 2}
    assert [key for key, _ in await sent(store)] == ["r2"]
    assert await store.decide_alike(again, HAM, [3, 4], now=later(6)) == 3
    assert [key for key, _ in await sent(store)] == ["r1", "r3", "r4"]


async def test_records_with_keys_are_grouped_by_them_and_others_by_the_text(
    store: SqlStore,
) -> None:
    await filled(
        store,
        [
            arrival(1, near_key=None, near_keys=("a", "b")),
            arrival(2, near_key=None, near_keys=("b", "c")),
            arrival(3, near_key=None, near_keys=("c", "d")),  # like 2, not like 1
            arrival(4, near_key="b"),  # a key of the console, not of a record
            arrival(5, near_key="b"),
            arrival(6, near_key=None, near_keys=("a",), purpose="audit"),  # blind, so alone
            arrival(7, near_key=None, near_keys=("a",), task="tone"),
            arrival(8, near_key=None, near_keys=("a",)),
            arrival(9, near_key=None),
            arrival(10, near_key=None),
        ],
    )

    async def alike(number: int, *, limit: int = 10) -> AlikeItems:
        return await store.alike(await store.item(number), limit=limit)

    assert await alike(1) == AlikeItems((2, 8))
    assert (await alike(1)).texts == ("text number 2", "text number 8")
    assert await alike(1, limit=1) == AlikeItems((2,), has_more=True)
    assert await alike(2) == AlikeItems((1, 3))
    assert await alike(4) == AlikeItems((5,))
    assert await alike(6) == await alike(7) == await alike(9) == AlikeItems(())
    lease = await leased(store, "ann")
    assert lease.item_id == 1
    assert await store.decide_alike(lease, HAM, range(1, 11), now=NOW) == 3  # with 2 and 8
    assert await alike(3) == AlikeItems(())  # what is decided is in no group
    again = await store.undo(reviewer="ann", item_id=1, now=later(1))
    assert await alike(3) == AlikeItems((2,))
    assert await store.decide_alike(again, HAM, [2, 8], now=later(2)) == 3
    await store.reopen(8, by="lea", note="", now=later(30))
    await store.reopen(1, by="lea", note="", now=later(30))
    assert await alike(8) == AlikeItems((1,))
    await store.erase_record("r1", by="lea", now=later(40))
    assert await alike(8) == AlikeItems(())
    async with store.database.reading() as connection:
        left = (await connection.execute(sqlalchemy.select(near_duplicate.c.item_id))).scalars()
        assert sorted(set(left)) == [3, 7, 8]  # of open items that are not blind


@pytest.fixture
def near() -> NearDuplicates:
    return NearDuplicates()  # imports what it needs: not in the event loop


async def test_a_wave_of_edited_texts_is_one_group_by_the_keys_of_the_service(
    store: SqlStore, near: NearDuplicates
) -> None:
    text = "Win a free phone today, answer this message with your address and your birthday! No {}"
    wave = [text.format(word) for word in ("kidding", "joke", "costs at all", "strings")]
    other = "The meeting of the gardening club was moved to Thursday because of the heavy rain."
    texts = [*wave, other]
    await filled(
        store,
        [
            arrival(n, text=each, near_key=None, near_keys=tuple(near.keys(each)))
            for n, each in enumerate(texts, start=1)
        ],
    )
    assert await store.alike(await store.item(1), limit=10) == AlikeItems((2, 3, 4))
    assert await store.alike(await store.item(5), limit=10) == AlikeItems(())


@pytest.mark.parametrize("number", [3, 60])
async def test_texts_alike_are_decided_and_taken_back_by_a_few_statements(
    make: Make, number: int
) -> None:
    """Others wait for the end of the transaction, so its length must not grow with the wave."""
    store = await make(second_look_share=0)
    await filled(store, [arrival(n, near_key="n") for n in range(1, number + 1)])
    lease = await leased(store, "ann")
    asked: list[str] = []

    def note(_: Any, cursor: Any, statement: str, *__: Any) -> None:  # noqa: ANN401
        asked.append(statement)

    engine = store.database._engine.sync_engine
    sqlalchemy.event.listen(engine, "before_cursor_execute", note)
    await store.decide_alike(lease, HAM, range(2, number + 1), now=NOW)
    await store.undo(reviewer="ann", item_id=lease.item_id, now=later(1))
    sqlalchemy.event.remove(engine, "before_cursor_execute", note)
    assert len(asked) < 45
    assert await store.waiting() == {None: number - 1}


async def test_what_was_decided_together_stays_together_if_a_part_has_left(
    store: SqlStore,
) -> None:
    await filled(store, [arrival(number, near_key="n") for number in range(1, 4)])
    lease = await leased(store, "ann")
    await store.decide_alike(lease, HAM, [2, 3], now=NOW)
    await store.take(limit=2, now=later(20))  # two of three are on their way
    with pytest.raises(UndoExpiredError, match="the verdict has left already"):
        await store.undo(reviewer="ann", item_id=lease.item_id, now=later(5))
    assert await store.waiting() == {}
    assert len(await store.last_verdicts(limit=9)) == 3


# Appeals


def appeal(number: int = 1, **changes: Any) -> AppealMessage:  # noqa: ANN401 any field
    fields: dict[str, Any] = {"appeal_id": f"a{number}", "id": "r1", "reason": "it was a joke"}
    return AppealMessage.model_validate(fields | changes)


async def appealed(
    store: SqlStore, *appeals: tuple[AppealMessage, Arrival | None], first: int = 0
) -> None:
    """Store appeals as if they were at offsets from ``first`` on of the topic appeals."""
    partition = TopicPartition("appeals", 0)
    placed = [
        (Position("appeals", 0, offset), *each) for offset, each in enumerate(appeals, start=first)
    ]
    await store.arrive(
        [],
        [],
        appeals=placed,
        begin={partition: first} if first else {},
        end={partition: first + len(appeals)},
        now=NOW,
    )


@pytest.mark.parametrize(
    ("labels", "outcome"), [(("ham",), "upheld"), (("spam",), "overturned"), (None, None)]
)
async def test_an_appeal_is_decided_by_somebody_else_and_says_what_came_of_it(
    store: SqlStore, labels: tuple[str, ...] | None, outcome: str | None
) -> None:
    await filled(store, [arrival(1), arrival(2)])
    await store.decide(await leased(store, "ann"), HAM, now=NOW)
    await sent(store)
    await appealed(store, (appeal(), None), (appeal(), None))
    assert (await leased(store, "ann")).item_id == 2  # hers comes before it no more
    found = await store.next_item(reviewer="bob", tasks=None, now=NOW)
    assert found is not None
    item, lease = found
    assert (item.purpose, item.review_id, item.text) == ("appeal", "r1#appeal/a1", "text number 1")
    assert item.metadata == {"appeal": "it was a joke", "thread": "a"}
    decision = Decision("unsure") if labels is None else Decision("correct", labels)
    await store.decide(lease, decision, now=NOW)
    [(key, value)] = await sent(store)
    verdict = read_verdict(value or b"")
    assert (key, verdict.id, verdict.purpose, verdict.look) == ("r1#appeal/a1", "r1", "appeal", 2)
    assert verdict.appeal is not None
    assert verdict.appeal.model_dump() == {
        "appeal_id": "a1",
        "review_id": "r1",
        "outcome": outcome,
    }
    assert verdict.review_probability is None  # nobody drew it at random
    again = await store.next_item(reviewer="cem", tasks=None, now=later(60))
    waits = again is not None and again[0].purpose == "appeal"
    assert waits is (labels is None)  # an appeal that nobody could decide waits for the next one


async def test_an_appeal_about_a_record_that_was_never_in_review_brings_its_text(
    store: SqlStore,
) -> None:
    text = {"id": "x", "text": "hello", "labels": ["spam"]}
    unknown, alone = appeal(1, id="x"), appeal(2, **text)
    await appealed(store, (unknown, None), (alone, arrival(9, review_id="x", record_id="x")))
    assert (await store.counts(now=NOW)).refused == {"appeal_without_text": 1}
    found = await store.next_item(reviewer="ann", tasks=None, now=NOW)
    assert found is not None
    await store.decide(found[1], HAM, now=NOW)
    [(key, value)] = await sent(store)
    verdict = read_verdict(value or b"")
    assert key == "x#appeal/a2"
    assert verdict.appeal is not None
    assert verdict.appeal.outcome == "overturned"


async def test_an_appeal_whose_text_was_erased_is_refused(store: SqlStore) -> None:
    await filled(store, [arrival(1)])
    await store.erase_record("r1", by="lead", now=NOW)
    await appealed(store, (appeal(), None))
    assert (await store.counts(now=NOW)).refused == {"appeal_without_text": 1}


# Verdicts of other tools


async def test_verdicts_of_another_tool_decide_their_items_without_a_message(
    store: SqlStore,
) -> None:
    await filled(store, [arrival(number) for number in range(1, 7)])
    decided = await leased(store, "ann")
    await store.decide(decided, HAM, now=NOW)
    held = await leased(store, "bob")
    await store.erase_record("r3", by="lead", now=NOW)
    verdicts = [
        a_verdict(review_id="r1", id="r1", labels=["spam"]),  # was decided here before
        a_verdict(review_id="r2", id="r2", decided_at="2030-01-01T00:00:00Z"),  # bob has it
        a_verdict(review_id="r3", id="r3"),  # erased
        a_verdict(review_id="r4", id="r4", action="unsure", labels=None),
        a_verdict(review_id="r5", id="r5", action="skip", labels=None),
        a_verdict(review_id="r6", id="r6", action="escalate", labels=None),
        a_verdict(review_id="not here", id="not here"),
    ]
    assert await store.settle(verdicts, now=later(60)) == 2
    assert await store.settle(verdicts, now=later(60)) == 0
    items = {each.review_id: each for each in await store.search(Search(), limit=9)}
    assert {name: (each.state, each.labels) for name, each in items.items()} == {
        "r1": ("decided", ("ham",)),
        "r2": ("decided", ("ham",)),
        "r3": ("purged", None),
        "r4": ("decided", None),
        "r5": ("open", None),
        "r6": ("open", None),
    }
    with pytest.raises(ItemGoneError, match="decided meanwhile"):
        await store.decide(held, HAM, now=later(61))
    assert [key for key, _ in await sent(store, 600)] == ["r1"]  # of the decision here
    rows = await store.reviewed(since=NOW, until=later(61))
    assert {row.review_id: row.decided_at for row in rows} == {
        "r1": NOW,
        "r4": later(0.25),
        "r2": later(60),  # nothing was decided in the future
    }
    last = (await store.history(items["r2"].item_id))[-1]
    assert (last.actor, last.action) == ("console", "decided_elsewhere")


async def test_an_item_that_was_opened_again_is_not_decided_by_the_verdict_before(
    store: SqlStore,
) -> None:
    await filled(store, [arrival(1)])
    lease = await leased(store, "ann")
    message = await store.decide(lease, HAM, now=NOW)
    await sent(store)
    await store.reopen(lease.item_id, by="lea", note="", now=later(70))
    assert await store.settle([message], now=later(71)) == 0  # its withdrawal waits to be sent
    assert await sent(store, 80) == [("r1", None)]
    assert await store.settle([message], now=later(81)) == 1  # imported after that


# Taking back


async def test_a_decision_can_be_taken_back_until_its_time_is_over(store: SqlStore) -> None:
    await filled(store, [arrival(1), arrival(2)])
    lease = await leased(store, "ann")
    await store.decide(lease, Decision("escalate"), now=NOW)
    held = await leased(store, "ann")  # the next one, which goes back
    again = await store.undo(reviewer="ann", item_id=lease.item_id, now=later(9.999))
    assert await sent(store) == []
    assert (await leased(store, "bob", 9)).item_id == held.item_id
    assert await store.search(Search(id="r1#2"), limit=5) == []
    await store.decide(again, HAM, now=later(11))
    with pytest.raises(UndoExpiredError, match="the time to take it back is over"):
        await store.undo(reviewer="ann", item_id=lease.item_id, now=later(21))
    assert [key for key, _ in await sent(store)] == ["r1"]


async def test_what_left_for_the_topic_cannot_be_taken_back(store: SqlStore) -> None:
    await filled(store, [arrival(1)])
    lease = await leased(store, "ann")
    await store.decide(lease, HAM, now=NOW)
    assert await store.take(limit=9, now=later(9.9)) == ()
    rows = await store.take(limit=9, now=later(10))  # of a console whose clock is ahead
    with pytest.raises(UndoExpiredError, match="has left already"):
        await store.undo(reviewer="ann", item_id=lease.item_id, now=later(5))
    assert await store.take(limit=9, now=later(10)) == rows  # until it says that it was sent


async def test_only_ones_own_decision_can_be_taken_back(store: SqlStore) -> None:
    await filled(store, [arrival(1)])
    lease = await leased(store, "ann")
    await store.decide(lease, HAM, now=NOW)
    with pytest.raises(UndoExpiredError, match="no decision of yours"):
        await store.undo(reviewer="bob", item_id=lease.item_id, now=NOW)


async def test_a_skip_can_be_taken_back(store: SqlStore) -> None:
    await filled(store, [arrival(1)])
    lease = await leased(store, "ann")
    await store.decide(lease, Decision("skip"), now=NOW)
    again = await store.undo(reviewer="ann", item_id=lease.item_id, now=later(2))
    assert (await leased(store, "ann", 3)).item_id == again.item_id


async def test_a_verdict_does_not_wait_longer_after_the_clock_has_jumped_back(
    store: SqlStore,
) -> None:
    await filled(store, [arrival(1)])
    await store.decide(await leased(store, "ann", 7200), HAM, now=later(7200))
    assert [key for key, _ in await sent(store, 0)] == ["r1"]


async def test_a_reopened_item_withdraws_its_verdict(store: SqlStore) -> None:
    await filled(store, [arrival(1), arrival(2)])
    first, second = await leased(store, "ann"), None
    await store.decide(first, HAM, now=NOW)
    assert len(await sent(store)) == 1
    await store.reopen(first.item_id, by="lead", note="see the policy", now=later(90))
    assert await sent(store, 90) == [("r1", None)]
    assert await store.reviewed(since=NOW, until=later(99)) == []
    second = await leased(store, "bob", 91)
    assert second.item_id == first.item_id
    await store.decide(second, Decision("confirm"), now=later(92))
    await store.reopen(first.item_id, by="lead", note="again", now=later(93))
    assert await sent(store, 120) == []  # it never left, so nothing is withdrawn
    with pytest.raises(ItemGoneError, match="not decided"):
        await store.reopen(first.item_id, by="lead", note="", now=later(94))


# What arrives


async def test_a_record_that_arrives_twice_is_one_item(store: SqlStore) -> None:
    await filled(store, [arrival(1), arrival(2)])
    await filled(store, [arrival(1), arrival(2)])  # read again by another console
    await filled(store, [arrival(2), arrival(3)], first=2)  # written again by the service
    assert sum(each.open for each in (await store.counts(now=NOW)).queues) == 3
    assert await store.positions() == {PARTITION: 4}


async def test_another_record_with_the_same_id_is_refused_and_kept(store: SqlStore) -> None:
    await filled(store, [arrival(1), arrival(2, review_id="r1")])
    counts = await store.counts(now=NOW)
    assert counts.refused == {"id_reused": 1}
    assert sum(each.open for each in counts.queues) == 1


async def test_refused_records_are_counted_once(store: SqlStore) -> None:
    refused = [Refused(Position("review", 0, 0), "no_text", "text: missing")]
    for _ in range(2):
        await store.arrive([], refused, begin={PARTITION: 0}, end={PARTITION: 1}, now=NOW)
    assert (await store.counts(now=NOW)).refused == {"no_text": 1}


async def test_a_position_never_goes_back_by_itself(store: SqlStore) -> None:
    await filled(store, [arrival(1), arrival(2), arrival(3)])
    await store.arrive([], [], begin={PARTITION: 0}, end={PARTITION: 2}, now=NOW)
    assert await store.positions() == {PARTITION: 3}
    with pytest.raises(PositionsMovedError, match="knows only 3, not 7"):
        await store.arrive([], [], begin={PARTITION: 7}, end={PARTITION: 8}, now=NOW)
    await store.reset_position(PARTITION, 0, why="recreated", now=NOW)
    assert await store.positions() == {PARTITION: 0}


# Looking up


async def test_neighbours_share_the_thread_or_else_the_key(store: SqlStore) -> None:
    await filled(
        store,
        [
            arrival(1, thread="t", key=b"a"),
            arrival(2, thread="t", key=b"b"),
            arrival(3, thread="t"),
            arrival(4, key=b"a"),
            arrival(5, key=b"a"),
            arrival(6, key=None),
        ],
    )
    ids = {1: ["r2", "r3"], 4: ["r5"], 6: []}
    for item_id, expected in ids.items():
        found = await store.neighbours(await store.item(item_id), limit=5)
        assert [each.review_id for each in found] == expected


@pytest.mark.parametrize("limit", [1, 2, 4, 9])
async def test_neighbours_are_the_nearest_in_time_on_both_sides(
    store: SqlStore, limit: int
) -> None:
    times = [0, 700, 900, 1_000, 1_000, 1_250, 1_400, 5_000]
    await filled(
        store,
        [
            arrival(number, key=b"k", event_time_ms=time, metadata=None)
            for number, time in enumerate(times)
        ],
    )
    wanted = await store.item(4)  # the first of those at 1,000
    assert wanted.event_time_ms == 1_000
    others = [(abs(time - 1_000), f"r{n}") for n, time in enumerate(times) if n != 3]
    found = await store.neighbours(wanted, limit=limit)
    assert [each.review_id for each in found] == [name for _, name in sorted(others)][:limit]


@pytest.mark.parametrize("keys", [{"near_key": "same"}, {"near_key": None, "near_keys": ("k",)}])
async def test_what_a_page_asks_never_sorts_or_scans_the_items(
    tmp_path: Path, keys: dict[str, Any]
) -> None:
    """With any number of open items, all of them alike: the plans are what the cost hangs on.

    Of SQLite: those of PostgreSQL depend on the statistics of its tables.
    """
    store = await open_store(ConsoleSettings(database=str(tmp_path / "console.db")))
    await filled(store, [arrival(n, **keys, key=b"same") for n in range(20)])
    asked: list[tuple[str, Any]] = []

    def note(_: Any, cursor: Any, statement: str, parameters: Any, *__: Any) -> None:  # noqa: ANN401
        asked.append((statement, parameters))

    engine = store.database._engine.sync_engine
    sqlalchemy.event.listen(engine, "before_cursor_execute", note)
    await store.next_item(reviewer="bob", tasks=[None, "tone"], now=NOW)
    found = await store.next_item(reviewer="ann", tasks=None, now=NOW)
    assert found is not None
    item, lease = found
    await store.alike(item, limit=5)
    await store.neighbours(item, limit=5)
    await store.waiting()
    await store.decided_by("ann", since=NOW)
    await store.exposure(reviewer="ann", since=NOW)
    await store.decide(lease, HAM, now=NOW)
    sqlalchemy.event.remove(engine, "before_cursor_execute", note)
    plans = []
    async with store.database.reading() as connection:
        for statement, parameters in asked:
            if statement.startswith(("SELECT", "UPDATE", "DELETE")):
                plan = await connection.exec_driver_sql(
                    f"EXPLAIN QUERY PLAN {statement}", parameters
                )
                plans += [(row.detail, statement) for row in plan]
    await store.close()
    assert len(plans) > 10
    slow = [
        (detail, statement)
        for detail, statement in plans
        if "TEMP B-TREE" in detail
        or "SCAN near_duplicate" in detail
        or ("SCAN item" in detail and "INDEX" not in detail)
    ]
    assert slow == []


@pytest.mark.parametrize("keys", [{"near_key": "same"}, {"near_key": None, "near_keys": ("k",)}])
async def test_a_wave_that_statistics_know_nothing_of_is_read_in_its_first_rows(
    postgresql: PostgresqlServer, postgresql_template: str, keys: dict[str, Any]
) -> None:
    """On PostgreSQL, whose plans hang on statistics: before the first ``ANALYZE`` it guesses."""
    address = postgresql.database(postgresql_template)
    name = address.rpartition("/")[2]
    for table in ("item", "near_duplicate"):
        postgresql.sql(f"ALTER TABLE {table} SET (autovacuum_enabled = false)", database=name)
    store = await open_store(ConsoleSettings(database=address))
    await filled(store, [arrival(n, **keys, key=b"same") for n in range(2_000)])
    await store.close()
    before = await asyncio.to_thread(_rows_read, postgresql, name)
    store = await open_store(ConsoleSettings(database=address))
    found = await store.next_item(reviewer="ann", tasks=None, now=NOW)
    assert found is not None
    assert len((await store.alike(found[0], limit=5)).item_ids) == 5
    assert len(await store.neighbours(found[0], limit=5)) == 5
    await store.close()
    read = await asyncio.to_thread(_rows_read, postgresql, name) - before
    assert 0 < read < 200


def _rows_read(server: PostgresqlServer, name: str) -> int:
    """Return how many rows of items all sessions have read that are over, by index or not."""
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND backend_type LIKE %s"
    with server.connection() as connection:
        while connection.execute(others, [name, "client%"]).fetchone() != (0,):
            time.sleep(0.01)
    query = (
        "SELECT (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname IN ('item',"
        " 'near_duplicate')) + (SELECT sum(seq_tup_read) FROM pg_stat_user_tables WHERE relname"
        " IN ('item', 'near_duplicate'))"
    )
    with server.connection(name) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


async def test_items_are_found_by_what_is_asked(store: SqlStore) -> None:
    await filled(
        store,
        [
            arrival(1, task="tone", model_labels=("50%_off", "rude")),
            arrival(2, model_labels=("50%_off",)),
            arrival(3, model_labels=("50 off",)),
        ],
    )
    await store.decide(await leased(store, "ann"), HAM, now=NOW)
    for query, expected in (
        (Search(id="r2"), ["r2"]),
        (Search(label="50%_off"), ["r2", "r1"]),
        (Search(label="rude", task="tone"), ["r1"]),
        (Search(task=""), ["r3", "r2"]),
        (Search(state="decided"), ["r1"]),
        (Search(reviewer="ann"), ["r1"]),
        (Search(reviewer="bob"), []),
        (Search(id="nul \x00"), []),
    ):
        assert [each.review_id for each in await store.search(query, limit=9)] == expected


async def test_the_queue_is_counted_by_task_and_label(store: SqlStore) -> None:
    await filled(store, [arrival(1), arrival(2), arrival(3), arrival(4, task="tone")])
    await store.decide(await leased(store, "ann"), HAM, now=later(1))
    await leased(store, "ann")
    counts = await store.counts(now=later(2))
    found = {(each.task, each.label): each for each in counts.queues}
    spam = found[None, "spam"]
    assert (spam.open, spam.leased, spam.decided, spam.oldest_at) == (1, 1, 1, NOW)
    assert (spam.arrived_last_hour, spam.decided_last_hour) == (3, 1)
    assert found["tone", "spam"].open == 1
    assert counts.outbox == 1
    later_on = await store.counts(now=NOW + timedelta(hours=2))
    assert sum(each.decided_last_hour for each in later_on.queues) == 0


# Audits that wait


DAY = 24 * 3600


async def audits(store: SqlStore, seconds: float, *, task: str | None = None) -> list[int]:
    """Return how many are open, overdue and erased at a time, and the age of the oldest."""
    now = later(seconds)
    found = {each.task: each for each in (await store.counts(now=now)).audits}
    one = found[task]
    return [one.open, one.overdue, one.erased, int(one.oldest_s(now=now))]


def audit(number: int, **changes: Any) -> Arrival:  # noqa: ANN401 of any field
    fields = {"purpose": "audit", "reasons": ("audit",), "review_probability": 0.01}
    return arrival(number, **(fields | changes))


async def test_without_an_audit_nothing_is_said_about_them(store: SqlStore) -> None:
    await filled(store, [arrival(1)])
    assert (await store.counts(now=later(9 * DAY))).audits == []


async def test_an_audit_is_overdue_from_its_time_on(store: SqlStore) -> None:
    await filled(store, [audit(1), audit(2, model_labels=("ham",)), audit(3, task="tone")])
    await filled(store, [arrival(4), arrival(5, purpose="gold")], first=3)
    for seconds, overdue in ((DAY - 0.001, 0), (DAY, 2), (DAY + 0.001, 2)):
        assert await audits(store, seconds) == [2, overdue, 0, int(seconds)]
    assert await audits(store, DAY, task="tone") == [1, 1, 0, DAY]


async def test_the_settings_say_when_an_audit_is_overdue(make: Make) -> None:
    store: SqlStore = await make(audit_overdue_h=0.5)
    await filled(store, [audit(1)])
    assert await audits(store, 1799) == [1, 0, 0, 1799]
    assert await audits(store, 1800) == [1, 1, 0, 1800]


async def test_a_decision_ends_the_wait_of_an_audit_and_being_on_a_screen_does_not(
    store: SqlStore,
) -> None:
    await filled(store, [audit(1), audit(2), audit(3), audit(4)])
    lease = await leased(store, "ann", DAY)
    assert await audits(store, DAY) == [4, 4, 0, DAY]
    await store.decide(lease, Decision("skip"), now=later(DAY))
    assert await audits(store, DAY + 60) == [4, 4, 0, DAY + 60]
    # the second look at an escalated one is not one of them: the monitor bets on first looks
    for seconds, decision in ((1, Decision("unsure")), (2, Decision("escalate"))):
        lease = await leased(store, "ann", DAY + seconds)
        await store.decide(lease, decision, now=later(DAY + seconds))
    last = await leased(store, "ann", DAY + 3)
    await store.decide(last, HAM, now=later(DAY + 3))
    assert await audits(store, DAY + 60) == [1, 1, 0, DAY + 60]
    await store.undo(reviewer="ann", item_id=last.item_id, now=later(DAY + 4))
    assert await audits(store, DAY + 60) == [2, 2, 0, DAY + 60]
    await store.decide(await leased(store, "ann", DAY + 5), HAM, now=later(DAY + 5))
    await store.reopen(last.item_id, by="lea", note="", now=later(DAY + 60))
    assert await audits(store, DAY + 60) == [2, 2, 0, DAY + 60]


async def test_audits_that_were_decided_elsewhere_wait_no_longer(store: SqlStore) -> None:
    await filled(store, [audit(1), audit(2)])
    verdict = a_verdict(review_id="r1", id="r1", reasons=["audit"], purpose="audit")
    assert await store.settle([verdict], now=later(DAY)) == 1
    assert await audits(store, DAY) == [1, 1, 0, DAY]


async def test_an_audit_that_was_erased_undecided_is_not_open_and_not_forgotten(
    store: SqlStore,
) -> None:
    await filled(store, [audit(1), audit(2), audit(3)])
    await store.decide(await leased(store, "ann"), HAM, now=NOW)
    await store.erase_record("r2", by="lea", now=NOW)
    await store.purge(decided_days=1, open_days=None, now=later(9 * DAY))  # a decided one
    assert await audits(store, DAY) == [1, 1, 1, DAY]
    await store.purge(decided_days=None, open_days=1, now=later(9 * DAY))
    assert await audits(store, 9 * DAY) == [0, 0, 2, 0]


async def test_a_clock_that_jumps_changes_no_audit(store: SqlStore) -> None:
    await filled(store, [audit(1)])
    assert await audits(store, -9 * DAY) == [1, 0, 0, 0]  # before it arrived
    assert await audits(store, 999 * DAY) == [1, 1, 0, 999 * DAY]
    assert await audits(store, 60) == [1, 0, 0, 60]


async def test_after_a_restart_audits_are_as_old_as_before(make: Make) -> None:
    store: SqlStore = await make()
    await filled(store, [audit(1)])
    again: SqlStore = await make(again=True)
    await filled(again, [audit(1), audit(2)])  # read once more, with another one
    assert await audits(again, DAY) == [2, 2, 0, DAY]


async def test_exposure_counts_what_a_person_decided(store: SqlStore) -> None:
    await filled(store, [arrival(1), arrival(2), arrival(3, model_labels=None)])
    for _ in range(3):
        await store.decide(await leased(store, "ann"), HAM, now=NOW)
    assert await store.exposure(reviewer="ann", since=NOW) == {"spam": 2, "ham": 1}
    assert await store.exposure(reviewer="ann", since=later(1)) == {}


async def test_the_last_verdicts_are_those_that_went_to_the_topic(store: SqlStore) -> None:
    await filled(store, [arrival(n) for n in range(1, 5)])
    for number in range(4):
        note = "why" if number == 2 else None
        decision = HAM if number else Decision("confirm", note=note)
        await store.decide(await leased(store, "ann"), decision, now=later(number))
    await store.reopen(4, by="lead", note="x", now=later(9))
    messages = [read_verdict(value or b"") for _, value in await sent(store)]
    assert list(await store.last_verdicts(limit=10)) == list(reversed(messages))
    assert [each.review_id for each in await store.last_verdicts(limit=1)] == ["r3"]


# Accounts, the log, erasing


async def test_accounts_are_added_changed_and_removed(store: SqlStore) -> None:
    await store.add_user(User(name="ann", password_hash="h", tasks=("tone",)), by="root", now=NOW)
    with pytest.raises(UserExistsError, match="an account ann already"):
        await store.add_user(User(name="ann"), by="root", now=NOW)
    await store.set_role("ann", "lead", by="root", now=NOW)
    for tasks in (None, ("topic",), ("tone",)):
        await store.set_tasks("ann", tasks, by="root", now=NOW)
        found = await store.user("ann")
        assert found is not None
        assert found.tasks == tasks
    await store.set_password("ann", "h2", by="root", now=NOW)
    assert await store.user("ann") == User(
        name="ann", role="lead", password_hash="h2", tasks=("tone",)
    )
    await store.remove_user("ann", by="root", now=NOW)
    with pytest.raises(UserUnknownError, match="no account ann"):
        await store.set_role("ann", "admin", by="root", now=NOW)
    [removed] = await store.users()
    assert (removed.is_disabled, removed.password_hash) == (True, None)
    await store.add_user(User(name="ann", role="admin"), by="root", now=NOW)
    assert await store.user("ann") == User(name="ann", role="admin")
    assert await store.user("bob") is None


async def test_the_history_of_an_item_says_who_did_what(store: SqlStore) -> None:
    await filled(store, [arrival(1)])
    lease = await leased(store, "ann")
    await store.decide(lease, replace(HAM, note="as in the policy"), now=later(1))
    await store.undo(reviewer="ann", item_id=lease.item_id, now=later(2))
    await leased(store, "bob", 400)
    history = await store.history(lease.item_id)
    assert [(each.actor, each.action) for each in history] == [
        ("ann", "leased"),
        ("ann", "decided"),
        ("ann", "undone"),
        ("console", "lease_expired"),
        ("bob", "leased"),
    ]
    assert history[1].note == "as in the policy"


async def test_changes_of_the_audit_log_are_found(store: SqlStore) -> None:
    for number in range(5):
        event = Event(at=NOW, actor="ann", action="said", detail={"n": number}, note="private")
        await store.append_event(event)
    intact = await audit_log.verify(store.database)
    assert (intact.entries, intact.problem) == (5, None)
    assert (await audit_log.verify(store.database, expected=intact.last_hash)).holds_expected
    assert not (await audit_log.verify(store.database, expected="0" * 64)).holds_expected
    for change, problem in (
        ("actor = 'bob' WHERE event_id = 3", "entry 3 was changed"),
        ("note = NULL WHERE event_id = 2", "the note of entry 2 was changed"),
        ("event_id = 9 WHERE event_id = 1", "entry 1 is missing"),
    ):
        async with store.database.writing() as connection:
            await connection.exec_driver_sql("UPDATE event SET " + change)  # noqa: S608 of the test
        found = await audit_log.verify(store.database)
        assert found.problem == problem
        assert found.entries < 3


async def test_texts_are_erased_by_age_and_everything_else_stays(store: SqlStore) -> None:
    await filled(store, [arrival(1), arrival(2)])
    lease = await leased(store, "ann")
    await store.decide(lease, replace(HAM, note="quotes the text"), now=NOW)
    waiting = await leased(store, "ann")
    day = timedelta(days=1)
    assert (await store.purge(decided_days=1, open_days=2, now=NOW + day)).items == 0
    done = await store.purge(decided_days=1, open_days=2, now=NOW + day + timedelta(seconds=1))
    assert (done.items, done.undecided) == (1, 0)
    done = await store.purge(decided_days=1, open_days=2, now=NOW + 3 * day)
    assert (done.items, done.undecided) == (1, 1)
    decided, purged = [await store.item(each.item_id) for each in (lease, waiting)]
    assert (decided.state, purged.state) == ("decided", "purged")
    for item in (decided, purged):
        assert (item.text, item.metadata, item.key, item.near_key) == (None,) * 4
    assert len(await store.reviewed(since=NOW, until=later(1))) == 1
    history = await store.history(lease.item_id)
    assert [each.note for each in history] == [None] * len(history)
    assert (await audit_log.verify(store.database)).problem is None
    with pytest.raises(ItemGoneError, match="erased"):
        await store.decide(waiting, HAM, now=NOW)
    with pytest.raises(ItemGoneError, match="erased"):
        await store.reopen(lease.item_id, by="lead", note="", now=NOW)


async def test_all_looks_at_a_record_are_erased_on_request(store: SqlStore, draws: Draws) -> None:
    await filled(store, [arrival(1), arrival(2)])
    draws.next = 0.01
    lease = await leased(store, "ann")
    await store.decide(lease, HAM, now=NOW)
    assert (await store.erase_record("r1", by="lead", now=NOW)).items == 2
    assert [each.text for each in await store.search(Search(id="r1"), limit=9)] == [None, None]
    assert (await leased(store, "bob", 20)).item_id == 2


# Duties, health, the whole


async def test_one_process_at_a_time_has_a_duty(store: SqlStore) -> None:
    async def take(holder: str, seconds: float) -> bool:
        return await store.take_duty("sender", holder=holder, ttl_s=10, now=later(seconds))

    assert await take("a", 0)
    assert not await take("b", 5)
    assert await take("a", 9)
    assert not await take("b", 18.9)
    assert await take("b", 19)
    await store.drop_duty("sender", holder="a")  # not theirs any more
    assert not await take("a", 20)
    await store.drop_duty("sender", holder="b")
    assert await take("a", 20)
    assert await take("b", -7200)  # the clock has jumped back


async def test_pseudonyms_are_equal_on_every_console_of_a_database(make: Make) -> None:
    one, same = await make(), await make(again=True)
    other = await make()
    names = [each.rules.pseudonym("ann") for each in (one, same, other)]
    assert names[0] == names[1] != names[2]
    keyed = await make(pseudonym_key="k" * 16)
    assert keyed.rules.pseudonym("ann") != names[2]


async def test_the_database_is_healthy(store: SqlStore) -> None:
    await store.health()
    await store.health()
    assert await store.take(limit=1, now=NOW) == ()


@pytest.mark.parametrize("seed", [1, 2])
async def test_random_use_decides_every_item_once(make: Make, seed: int) -> None:
    """Several reviewers at random; at the end one verdict for each item, and an intact log."""
    chance = random.Random(seed)
    store: SqlStore = await make(lease_s=5, undo_s=1, second_look_share=0, gold_share=0)
    await filled(store, [arrival(number) for number in range(12)])
    now = 0.0
    leases: dict[str, Lease] = {}
    topic: dict[str, bytes | None] = {}
    while (await store.counts(now=later(now))).queues[0].decided < 12:
        now += chance.random() * 3
        name = f"reviewer {chance.randrange(3)}"
        found = await store.next_item(reviewer=name, tasks=None, now=later(now))
        if found is not None:
            leases[name] = found[1]
        if name in leases and chance.random() < 0.5:
            try:
                await store.decide(leases.pop(name), HAM, now=later(now))
            except (StaleLeaseError, ItemGoneError):
                continue
        elif chance.random() < 0.1 and name in leases:
            await store.release(leases.pop(name), now=later(now))
        if chance.random() < 0.2:
            topic |= dict(await sent(store, now))
    topic |= dict(await sent(store, now + 60))
    assert sorted(topic) == sorted(f"r{number}" for number in range(12))
    assert len(await store.reviewed(since=NOW, until=later(now + 1))) == 12
    assert (await audit_log.verify(store.database)).problem is None
