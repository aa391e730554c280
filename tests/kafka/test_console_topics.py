"""Review records become items, and verdicts become messages, on a real Kafka."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from streamlabel.config.settings import Settings
from streamlabel.console.store.items import Decision, Search
from streamlabel.console.store.opening import SqlStore, open_store
from streamlabel.console.topics.loops import now_of
from streamlabel.console.topics.reading import ReviewReader
from streamlabel.console.topics.sending import VerdictSender
from streamlabel.consumer.kafka.keyed_writer import Keyed, KeyedWriter
from streamlabel.consumer.kafka.topics import find_topics
from streamlabel.consumer.output.verdict import read_verdict
from streamlabel.errors import BrokerError, ConfigError
from streamlabel.models.core.system_clock import SystemClock
from testing.console.review_record import review
from testing.kafka_broker import Cluster

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

CLOCK = SystemClock()
HAM = Decision("correct", ("ham",))


def settings(
    kafka: Cluster, review_topic: str, database: Path, *, creates: bool = True
) -> Settings:
    """Return the settings of a console on one review topic and its own verdicts topic."""
    return Settings.model_validate(
        {
            "kafka": {
                "bootstrap_servers": kafka.bootstrap,
                "group_id": f"group-{review_topic}",
                "create_topics": creates,
                "metadata_max_age_ms": 500,
            },
            "model": {"backend": "encoder", "path": "not-loaded"},
            "output": {"review_topic": review_topic, "verdicts_topic": f"verdicts-{review_topic}"},
            "console": {
                "database": str(database),
                "undo_s": 0,
                "second_look_share": 0,
                "gold_share": 0,
            },
        }
    )


@asynccontextmanager
async def console(settings: Settings, *, holder: str = "a") -> AsyncIterator[SqlStore]:
    """Run the loops of one console; at the end they are cancelled wherever they are."""
    store = await open_store(settings.console)
    reader = ReviewReader(settings, store, holder=holder, clock=CLOCK)
    sender = VerdictSender(settings, store, instance=store.instance, holder=holder, clock=CLOCK)
    tasks = [asyncio.create_task(each.run()) for each in (reader, sender)]
    try:
        yield store
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await store.close()


async def until(claim: Callable[[], Awaitable[bool]], *, what: str) -> None:
    """Wait until something holds, checked again and again."""
    async with asyncio.timeout(90):
        while not await claim():  # noqa: ASYNC110 nothing tells us
            await asyncio.sleep(0.1)
    assert await claim(), what


async def has_items(store: SqlStore, number: int) -> None:
    async def claim() -> bool:
        counts = await store.counts(now=now_of(CLOCK))
        return sum(each.open + each.leased + each.decided for each in counts.queues) >= number

    await until(claim, what=f"{number} items")


async def sent_all(store: SqlStore) -> None:
    async def claim() -> bool:
        return (await store.counts(now=now_of(CLOCK))).outbox == 0

    await until(claim, what="an empty outbox")


async def decide_all(store: SqlStore) -> int:
    number = 0
    while found := await store.next_item(reviewer="ann", tasks=None, now=now_of(CLOCK)):
        await store.decide(found[1], HAM, now=now_of(CLOCK))
        number += 1
    return number


def post(kafka: Cluster, topic: str, numbers: range, *, partition: int = 0) -> None:
    values = [
        json.dumps(
            review(
                id=f"r{number}",
                text=f"text {number}",
                source={"topic": "texts", "partition": 0, "offset": number, "timestamp_ms": 9},
            )
        ).encode()
        for number in numbers
    ]
    kafka.produce(topic, values, partition=partition, key=b"key")


async def test_reviews_become_items_and_verdicts_messages(kafka: Cluster, tmp_path: Path) -> None:
    topic = kafka.topic("review", partitions=2)
    chosen = settings(kafka, topic, tmp_path / "console.db")
    await asyncio.to_thread(post, kafka, topic, range(5))
    await asyncio.to_thread(
        kafka.produce, topic, [b"not JSON", b'{"schema": "other/v9"}'], partition=1
    )
    async with console(chosen) as store:
        await has_items(store, 5)
        assert await decide_all(store) == 5
        await sent_all(store)

        async def refused() -> bool:
            found = (await store.counts(now=now_of(CLOCK))).refused
            return found == {"not_json": 1, "version": 1}

        await until(refused, what="refused records are counted")
    # the next console continues where this one was
    await asyncio.to_thread(post, kafka, topic, range(4, 7))  # the service writes r4 again
    async with console(chosen, holder="b") as store:
        await has_items(store, 7)
        assert await decide_all(store) == 2
        await sent_all(store)
    verdicts = await asyncio.to_thread(kafka.read, chosen.output.verdicts_topic)
    keys = [each.key() for each in verdicts]
    assert sorted(keys) == [f"r{number}".encode() for number in range(7)]
    found = read_verdict(verdicts[0].value())
    assert (found.labels, found.model_labels, found.review_probability) == (["ham"], ["spam"], 1.0)
    topics = await find_topics(chosen.kafka, [chosen.output.verdicts_topic])
    assert topics[chosen.output.verdicts_topic].settings["cleanup.policy"] == "compact"


async def test_two_consoles_on_one_database_store_and_send_once(
    kafka: Cluster, tmp_path: Path
) -> None:
    topic = kafka.topic("review")
    chosen = settings(kafka, topic, tmp_path / "console.db")
    async with console(chosen) as first, console(chosen, holder="b") as second:
        await asyncio.to_thread(post, kafka, topic, range(30))
        await has_items(first, 30)
        assert await decide_all(second) == 30
        await sent_all(first)
    verdicts = await asyncio.to_thread(kafka.read, chosen.output.verdicts_topic)
    # one that was sent when the other console took over may be there again, but never another one
    assert len({each.key() for each in verdicts}) == 30
    assert len({(each.key(), each.value()) for each in verdicts}) == 30


async def test_a_verdict_that_was_sent_but_not_crossed_off_is_sent_again_alike(
    kafka: Cluster, tmp_path: Path
) -> None:
    topic = kafka.topic("review")
    chosen = settings(kafka, topic, tmp_path / "console.db")
    await asyncio.to_thread(post, kafka, topic, range(1))
    async with console(chosen) as store:
        await has_items(store, 1)
    store = await open_store(chosen.console)  # now a console that dies after writing
    await decide_all(store)
    rows = await store.take(limit=9, now=now_of(CLOCK))
    writer = KeyedWriter(chosen.kafka, chosen.output.verdicts_topic, name="another")
    await writer.start()
    await writer.write([Keyed(row.key.encode(), row.value) for row in rows])
    await writer.close(at_once=True)
    await store.close()
    async with console(chosen, holder="b") as store:
        await sent_all(store)
        [item] = await store.search(Search(id="r0"), limit=2)
        await store.reopen(item.item_id, by="lead", note="", now=now_of(CLOCK))
        await sent_all(store)
    found = await asyncio.to_thread(kafka.read, chosen.output.verdicts_topic)
    values = [(each.key(), each.value()) for each in found]
    assert values == [(b"r0", rows[0].value), (b"r0", rows[0].value), (b"r0", None)]


async def test_an_earlier_writer_cannot_write_after_a_later_one(kafka: Cluster) -> None:
    topic = kafka.topic("verdicts", cleanup_policy="compact")
    chosen = settings(kafka, topic, Path("unused.db"))
    paused, later = (KeyedWriter(chosen.kafka, topic, name=f"w-{topic}") for _ in range(2))
    await paused.start()
    await paused.write([Keyed(b"k", b"1")])
    await later.start()
    await later.write([Keyed(b"k", b"2")])
    with pytest.raises(BrokerError, match="writing to"):
        await paused.write([Keyed(b"k", b"1")])
    await paused.close(at_once=True)
    await later.close()
    found = await asyncio.to_thread(kafka.read, topic)
    assert [each.value() for each in found] == [b"1", b"2"]


async def test_a_review_topic_that_was_created_again_is_read_from_its_beginning(
    kafka: Cluster, tmp_path: Path
) -> None:
    topic = kafka.topic("review")
    chosen = settings(kafka, topic, tmp_path / "console.db")
    await asyncio.to_thread(post, kafka, topic, range(5))
    async with console(chosen) as store:
        await has_items(store, 5)
    await asyncio.to_thread(kafka.recreate, topic)
    await asyncio.to_thread(post, kafka, topic, range(4, 7))
    async with console(chosen, holder="b") as store:
        await has_items(store, 7)
        assert await store.positions() == {(topic, 0): 3}
        assert (await store.counts(now=now_of(CLOCK))).refused == {}


async def test_a_missing_topic_is_named_if_it_may_not_be_created(kafka: Cluster) -> None:
    chosen = settings(kafka, "review-missing", Path("unused.db"), creates=False)
    writer = KeyedWriter(chosen.kafka, "verdicts-missing", name="w")
    with pytest.raises(ConfigError, match="verdicts-missing does not exist: create it with"):
        await writer.start()


async def test_an_appeal_comes_in_and_its_outcome_goes_out(kafka: Cluster, tmp_path: Path) -> None:
    topic, appeals = kafka.topic("review"), kafka.topic("appeals")
    given = settings(kafka, topic, tmp_path / "console.db")
    console_ = given.console.model_copy(update={"appeals_topic": appeals})
    chosen = given.model_copy(update={"console": console_})
    await asyncio.to_thread(post, kafka, topic, range(1))
    async with console(chosen) as store:
        await has_items(store, 1)
        assert await decide_all(store) == 1
        await sent_all(store)
        appeal = {"schema": "streamlabel.appeal/v1", "appeal_id": "a1", "id": "r0"}
        values = [json.dumps(appeal).encode(), b"no appeal"]
        await asyncio.to_thread(kafka.produce, appeals, values)
        await has_items(store, 2)
        assert await decide_all(store) == 0  # it is not for who decided
        found = await store.next_item(reviewer="bob", tasks=None, now=now_of(CLOCK))
        assert found is not None
        await store.decide(found[1], Decision("correct", ("spam",)), now=now_of(CLOCK))
        await sent_all(store)
        assert (await store.counts(now=now_of(CLOCK))).refused == {"not_json": 1}
    messages = await asyncio.to_thread(kafka.read, chosen.output.verdicts_topic)
    verdicts = {each.key(): read_verdict(each.value()) for each in messages}
    assert verdicts[b"r0"].labels == ["ham"]
    answer = verdicts[b"r0#appeal/a1"].appeal
    assert answer is not None
    assert (answer.review_id, answer.outcome) == ("r0", "overturned")
