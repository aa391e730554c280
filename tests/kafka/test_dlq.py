"""dlq list and dlq replay against a real Kafka: every dead letter goes back once, or stays."""

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner, Result

from streamlabel.__main__ import app
from streamlabel.config.settings import Settings
from streamlabel.consumer.core.records import Headers, Position, SourceRecord
from streamlabel.consumer.kafka.replay import Replay, Report
from streamlabel.consumer.output.dead_letter_reader import Selection
from streamlabel.consumer.output.dead_letters import dead_letter
from streamlabel.errors import BrokerError, RecordError
from streamlabel.models.core.system_clock import SystemClock
from testing.kafka_broker import Cluster, wait_until
from tests.kafka_bytes import batch, produce_bytes

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

in_thread = asyncio.to_thread  # the helpers of the cluster block


class Letters:
    """Topics of one test, and dead letters on them."""

    def __init__(self, kafka: Cluster, *, partitions: int = 2) -> None:
        self.kafka = kafka
        self.texts = kafka.topic("texts", partitions=partitions)
        self.dead = kafka.topic("dead", partitions=partitions)
        self.group = self.texts
        self.partitions = partitions
        self._producer = Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 0})

    @property
    def settings(self) -> Settings:
        """What the program is told."""
        return Settings.model_validate(
            {
                "kafka": {"bootstrap_servers": self.kafka.bootstrap, "group_id": self.group},
                "input": {"topic": self.texts},
                "output": {"dead_letter_topic": self.dead},
                "delivery": {"transaction_timeout_ms": 10_000},
                "model": {"backend": "fake"},
            }
        )

    @property
    def options(self) -> list[str]:
        """The same as flags."""
        settings = {
            "kafka.bootstrap_servers": self.kafka.bootstrap,
            "kafka.group_id": self.group,
            "input.topic": self.texts,
            "output.dead_letter_topic": self.dead,
            "delivery.transaction_timeout_ms": "10000",
            "model.backend": "fake",
        }
        return [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]

    def run(self, *arguments: str) -> Result:
        """Run a command to its end."""
        return CliRunner().invoke(app, ["dlq", *arguments, *self.options])

    def add(
        self,
        count: int,
        *,
        reason: str = "inference_error",
        headers: Headers = (),
        prefix: str = "text",
        key: bytes | None = b"key",
        limit_bytes: int = 1_000_000,
    ) -> None:
        """Write dead letters of records that stood in alternating partitions."""
        for number in range(count):
            partition = number % self.partitions
            record = SourceRecord(
                Position(self.texts, partition, number),
                key and key + f"-{number % 5}".encode(),
                f"{prefix}-{number}".encode(),
                headers,
                1_700_000_000_000,
                0.0,
            )
            letter = dead_letter(
                record,
                topic=self.dead,
                error=RecordError(reason, "because"),
                version="1",
                limit_bytes=limit_bytes,
            )
            self._producer.produce(
                self.dead,
                value=letter.value,
                key=letter.key,
                headers=list(letter.headers),
                partition=partition,
            )
        assert self._producer.flush(30) == 0

    def replay(self, **options: object) -> Replay:
        """A replay of all that may go."""
        everything: dict[str, object] = {
            "max_replays": 3, "rate": None, "limit": None, "execute": True,
            "clock": SystemClock(), "report": Report(),
        }  # fmt: skip
        return Replay(self.settings, Selection(), **{**everything, **options})  # type: ignore[arg-type]

    def values(self) -> list[str]:
        """What is on the input topic now."""
        return [(message.value() or b"").decode() for message in self.kafka.read(self.texts)]


def expected(count: int, prefix: str = "text") -> list[str]:
    return [f"{prefix}-{number}" for number in range(count)]


def test_show_prints_one_dead_letter_by_either_position(kafka: Cluster) -> None:
    letters = Letters(kafka)
    letters.add(3, headers=(("note", b"\x1b[2J"),), prefix="\x1b[31m text")
    shown = letters.run("show", "--position", f"{letters.dead}/0/1")
    assert shown.exit_code == 0, shown.output
    assert all(line.isprintable() for line in shown.stdout.splitlines())
    assert "inference_error" in shown.stdout
    assert "because" in shown.stdout
    assert "\\x1b[31m text-2" in shown.stdout
    document = json.loads(letters.run("show", "--position", f"{letters.dead}/0/1", "--json").stdout)
    assert document["value"] == "\x1b[31m text-2"
    assert ["note", "\x1b[2J"] in document["headers"]
    again = letters.run("show", "--position", document["source"], "--json")
    assert json.loads(again.stdout) == document


@pytest.mark.parametrize("place", ["dead/0/99", "dead/9/0", "texts/0/99"])
def test_show_says_that_there_is_none(kafka: Cluster, place: str) -> None:
    letters = Letters(kafka)
    topic, partition, offset = place.split("/")
    name = letters.dead if topic == "dead" else letters.texts
    shown = letters.run("show", "--position", f"{name}/{partition}/{offset}")
    assert shown.exit_code == 2
    assert "there is no dead letter" in shown.stderr


def test_a_dry_run_counts_and_writes_nothing(kafka: Cluster) -> None:
    letters = Letters(kafka)
    letters.add(7)
    letters.add(3, reason="schema")
    result = letters.run("replay")
    assert result.exit_code == 0, result.output
    assert "7  inference_error     may be replayed" in result.stdout
    assert "--execute would write 10 record(s)" in result.stderr
    assert letters.values() == []
    assert len(kafka.read(letters.dead)) == 10


def test_records_go_back_whole_to_their_partition_once(kafka: Cluster) -> None:
    letters = Letters(kafka)
    letters.add(250, headers=(("traceparent", b"00-1-2-01"),))
    result = letters.run("replay", "--execute")
    assert result.exit_code == 0, result.output
    assert "250 record(s) written" in result.stderr
    found = kafka.read(letters.texts)
    assert sorted((m.value() or b"").decode() for m in found) == sorted(expected(250))
    for message in found:
        number = int((message.value() or b"").rpartition(b"-")[2])
        assert message.partition() == number % 2
        assert message.key() == f"key-{number % 5}".encode()
        assert message.headers() == [("traceparent", b"00-1-2-01"), ("streamlabel-replays", b"1")]
    for partition in (0, 1):  # in order
        mine = [m.value() for m in found if m.partition() == partition]
        assert mine == [b"text-%d" % n for n in range(partition, 250, 2)]
    again = letters.run("replay", "--execute", "--json")
    assert json.loads(again.stdout) == {
        "executed": True,
        "replayed": 0,
        "found": [{"reason": "inference_error", "verdict": "replayed", "dead_letters": 250}],
    }
    assert len(letters.values()) == 250


def test_each_goes_back_to_the_input_topic_that_it_came_from(kafka: Cluster) -> None:
    one, other = Letters(kafka), Letters(kafka)
    other.dead = one.dead
    one.add(4)
    other.add(6, prefix="other")
    both = json.dumps([{"name": one.texts}, {"name": other.texts, "weight": 2}])
    options = [
        part.replace(f"input.topic={one.texts}", f"input.topics={both}") for part in one.options
    ]
    result = CliRunner().invoke(app, ["dlq", "replay", "--execute", *options])
    assert result.exit_code == 0, result.output
    assert sorted(one.values()) == sorted(expected(4))
    assert sorted(other.values()) == sorted(expected(6, "other"))


def test_reasons_are_replayed_apart_and_none_is_forgotten(kafka: Cluster) -> None:
    letters = Letters(kafka)
    letters.add(5, prefix="first")
    letters.add(5, reason="schema", prefix="second")
    letters.add(5, prefix="third")
    for reasons, before in (["--reason", "schema"], 5), (["--reason", "inference_error"], 15):
        assert letters.run("replay", "--execute", *reasons).exit_code == 0
        assert len(letters.values()) == before
    assert letters.run("replay", "--execute").exit_code == 0
    everything = expected(5, "first") + expected(5, "second") + expected(5, "third")
    assert sorted(letters.values()) == sorted(everything)


def test_a_limit_and_a_rate_are_kept(kafka: Cluster) -> None:
    letters = Letters(kafka)
    letters.add(20)
    began_s = time.monotonic()
    result = letters.run("replay", "--execute", "--limit", "11", "--rate", "5")
    assert result.exit_code == 0, result.output
    assert time.monotonic() - began_s > 11 / 5 - 1
    assert len(letters.values()) == 11
    assert letters.run("replay", "--execute").exit_code == 0
    assert sorted(letters.values()) == sorted(expected(20))


def test_what_cannot_or_may_not_go_back_stays_and_is_reported(kafka: Cluster) -> None:
    letters = Letters(kafka)
    letters.add(2, headers=(("streamlabel-replays", b"3"),))
    letters.add(3, prefix="v" * 2000, limit_bytes=1500)
    result = letters.run("replay", "--execute")
    assert "2  inference_error     came back too often" in result.stdout
    assert "3  inference_error     have no value, or" in result.stdout
    assert letters.values() == []
    assert letters.run("replay", "--execute", "--max-replays", "4").exit_code == 0
    assert letters.values() == expected(2)  # the smaller limit did not put them aside for ever


def test_a_record_that_the_input_topic_does_not_take_is_left(kafka: Cluster) -> None:
    letters = Letters(kafka)
    kafka.configure(letters.texts, max_message_bytes=1000)
    letters.add(1, prefix="v" * 2000)
    letters.add(1)
    result = letters.run("replay", "--execute")
    assert result.exit_code == 0, result.output
    assert "1  inference_error     are larger than input.topic" in result.stdout
    assert letters.values() == expected(1)


def test_records_that_break_a_rule_of_the_input_topic_stay_and_the_others_go(
    kafka: Cluster,
) -> None:
    letters = Letters(kafka)
    kafka.configure(letters.texts, cleanup_policy="compact")
    letters.add(6)
    letters.add(2, prefix="keyless", key=None)
    letters.add(6, prefix="more")
    for _ in range(2):  # what was refused is tried again, the others are not
        result = letters.run("replay", "--execute")
        assert result.exit_code == 0, result.output
        assert "2  inference_error     break a rule of input.topic" in result.stdout
        assert sorted(letters.values()) == sorted(expected(6) + expected(6, "more"))
    kafka.configure(letters.texts, cleanup_policy="delete")
    assert letters.run("replay", "--execute").exit_code == 0
    assert sorted(letters.values()) == sorted(
        expected(6) + expected(2, "keyless") + expected(6, "more")
    )


async def test_a_replay_cancelled_anywhere_goes_on_without_doubles(kafka: Cluster) -> None:
    letters = Letters(kafka)
    await in_thread(letters.add, 300)
    rng = random.Random(4)
    cancelled = 0
    for _ in range(12):
        replay = letters.replay(rate=1000)
        task = asyncio.ensure_future(replay.run())
        # a connection and a scan take 0.1 s, a transaction 0.05 s: anywhere in that
        await asyncio.wait([task], timeout=rng.uniform(0.05, 0.6))
        task.cancel()
        result = (await asyncio.gather(task, return_exceptions=True))[0]
        cancelled += isinstance(result, asyncio.CancelledError)
    assert cancelled
    await letters.replay().run()
    found = Counter(await in_thread(letters.values))
    assert found == Counter(expected(300))


def test_a_replay_killed_in_the_middle_goes_on_without_doubles(kafka: Cluster) -> None:
    letters = Letters(kafka, partitions=1)
    letters.add(300)
    command = [sys.executable, "-m", "streamlabel", "dlq", "replay", "--execute", "--rate", "20"]
    for _ in range(2):
        before = len(letters.values())
        with subprocess.Popen([*command, *letters.options]) as process:
            try:
                wait_until(lambda: len(letters.values()) > before, what="some are replayed")  # noqa: B023 used at once
            finally:
                process.kill()
    assert len(letters.values()) < 300
    result = letters.run("replay", "--execute")
    assert result.exit_code == 0, result.output
    assert letters.values() == expected(300)


def test_an_interrupted_replay_says_how_far_it_came(kafka: Cluster) -> None:
    letters = Letters(kafka, partitions=1)
    letters.add(600)  # a minute of work at this rate
    command = [sys.executable, "-m", "streamlabel", "dlq", "replay", "--execute", "--rate", "10"]
    with subprocess.Popen(
        [*command, *letters.options], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_until(lambda: len(letters.values()) > 0, what="some are replayed")
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert f"{len(letters.values())} record(s) were replayed; run the command again" in said


@pytest.mark.parametrize("group", ["", "-of-another-team"], ids=["one group", "two groups"])
async def test_of_two_replays_at_once_the_later_one_wins_and_nothing_is_doubled(
    kafka: Cluster, group: str
) -> None:
    letters = Letters(kafka, partitions=1)
    await in_thread(letters.add, 60)
    has_begun = asyncio.Event()
    first = letters.replay(rate=10, on_progress=lambda _: has_begun.set())
    running = asyncio.ensure_future(first.run())
    await has_begun.wait()
    letters.group += group
    await letters.replay().run()
    with pytest.raises(BrokerError, match="run it again"):
        await running
    assert await in_thread(letters.values) == expected(60)


async def test_a_receipt_beside_an_open_transaction_is_not_overlooked(kafka: Cluster) -> None:
    letters = Letters(kafka, partitions=1)
    await in_thread(letters.add, 5)
    other = Producer(
        {"bootstrap.servers": kafka.bootstrap, "transactional.id": letters.dead, "log_level": 0}
    )

    def begin() -> None:
        other.init_transactions(30)
        other.begin_transaction()
        other.produce(letters.dead, value=b"of a service that is at work", partition=0)
        other.flush(30)

    has_begun = asyncio.Event()
    first = letters.replay(rate=2, on_progress=lambda _: has_begun.set())
    running = asyncio.ensure_future(first.run())
    await has_begun.wait()
    await in_thread(begin)
    await running  # its last receipts stand behind the open record, out of sight for most readers
    second = letters.replay()
    running = asyncio.ensure_future(second.run())
    await asyncio.wait([running], timeout=1.0)
    await in_thread(other.commit_transaction, 30)
    await running
    assert await in_thread(letters.values) == expected(5)
    assert second.report.written == 0


def test_list_shows_each_with_its_reason_place_and_size(kafka: Cluster) -> None:
    letters = Letters(kafka, partitions=1)
    letters.add(2)
    letters.add(1, reason="schema")
    assert letters.run("replay", "--execute", "--limit", "1").exit_code == 0
    header, *rows = [row.split() for row in letters.run("list").stdout.splitlines()]
    assert header == [
        "POSITION",
        "REASON",
        "SOURCE",
        "ATTEMPTS",
        "REPLAYS",
        "BYTES",
        "SINCE",
        "MESSAGE",
    ]
    assert rows[0] == [
        f"{letters.dead}-0-0", "inference_error", f"{letters.texts}-0-0", "1", "0", "6",
        "replayed", "because",
    ]  # fmt: skip
    assert [row[1] for row in rows] == ["inference_error", "inference_error", "schema"]
    only = letters.run("list", "--reason", "schema", "--json")
    assert json.loads(only.stdout)["source"] == f"{letters.texts}-0-0"
    counts = json.loads(letters.run("list", "--count", "--json").stdout)
    assert counts == {
        "inference_error": {"dead_letters": 2, "replayed": 1},
        "schema": {"dead_letters": 1, "replayed": 0},
    }
    assert letters.run("list", "--partition", "1").stdout == ""
    assert letters.run("list", "--until", "1d").stdout == ""
    assert len(letters.run("list", "--since", "1d", "--no-header").stdout.splitlines()) == 3


def test_list_passes_by_what_no_client_can_decode(kafka: Cluster) -> None:
    letters = Letters(kafka, partitions=1)
    letters.add(1)
    asyncio.run(produce_bytes(kafka.bootstrap, letters.dead, batch([b"1", b"2"], bad=0)))
    letters.add(1)
    result = letters.run("list", "--count")
    assert result.exit_code == 0, result.output
    assert "2  in all" in result.stdout


def test_a_missing_topic_or_a_wrong_option_is_one_sentence(kafka: Cluster) -> None:
    letters = Letters(kafka)
    assert letters.run("list", "--reason", "bad luck").exit_code == 2
    assert letters.run("list", "--since", "yesterday").exit_code == 2
    letters.dead = "nowhere"
    result = letters.run("replay")
    assert result.exit_code == 2
    assert "nowhere" in result.stderr
    assert "nowhere" not in kafka.topics()
