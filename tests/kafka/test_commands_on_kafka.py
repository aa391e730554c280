"""produce, check and tail against a real Kafka."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from streamlabel.__main__ import app
from testing.kafka_broker import Cluster, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


class Setup:
    """Topics of one test, and the program that is told about them."""

    def __init__(self, kafka: Cluster) -> None:
        self.kafka = kafka
        self.texts = kafka.topic("texts", partitions=2)
        self.labels = kafka.topic("labels")
        self.review = kafka.topic("review")
        self.dead = kafka.topic("dead")

    @property
    def options(self) -> list[str]:
        """The settings as flags."""
        settings = {
            "kafka.bootstrap_servers": self.kafka.bootstrap,
            "kafka.create_topics": "false",
            "input.topic": self.texts,
            "output.labels_topic": self.labels,
            "output.review_topic": self.review,
            "output.dead_letter_topic": self.dead,
            "model.backend": "fake",
        }
        return [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]

    def run(self, *arguments: str, stdin: bytes | None = None) -> Result:
        """Run a command to its end."""
        return CliRunner().invoke(app, [*arguments, *self.options], input=stdin)


@pytest.fixture
def setup(kafka: Cluster) -> Setup:
    return Setup(kafka)


def test_produce_writes_every_line_with_its_key(setup: Setup, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    documents = [{"text": f"text {i}", "user": f"u{i % 5}"} for i in range(1500)]
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))
    result = setup.run("produce", "--file", str(path), "--key-field", "user")
    assert result.exit_code == 0, result.output
    assert "1500 acknowledged, of 1500 lines" in result.stderr
    read = setup.kafka.read(setup.texts)
    assert sorted(str(m.value()) for m in read) == sorted(
        str(json.dumps(document).encode()) for document in documents
    )
    partitions: dict[bytes, set[int]] = {}
    for message in read:
        partitions.setdefault(message.key(), set()).add(message.partition())
    assert len(partitions) == 5
    assert all(len(places) == 1 for places in partitions.values())


def test_produce_names_the_lines_that_became_no_record(setup: Setup) -> None:
    large = json.dumps({"text": "x" * 1_100_000}).encode()
    result = setup.run("produce", "--file", "-", stdin=b'{"text": "a"}\n' + large + b"\nbroken\n")
    assert result.exit_code == 0, result.output
    assert "line 2:" in result.stderr
    assert "kafka.max_request_bytes" in result.stderr
    assert len(setup.kafka.read(setup.texts)) == 2


def test_produce_keeps_to_its_rate(setup: Setup) -> None:
    began_s = time.monotonic()
    result = setup.run("produce", "--file", "-", "--rate", "10", stdin=b'{"text": "a"}\n' * 31)
    assert result.exit_code == 0, result.output
    # 31 records at 10 a second, of which the first second may come at once
    assert time.monotonic() - began_s > 1.9
    assert len(setup.kafka.read(setup.texts)) == 31


def test_produce_to_a_missing_topic_names_it(setup: Setup) -> None:
    setup.texts = "nowhere"
    result = setup.run("produce", "--file", "-", stdin=b"{}\n")
    assert result.exit_code == 2
    assert "nowhere" in result.stderr


def test_tail_shows_old_records_and_joins_no_group(setup: Setup) -> None:
    review = {"label": "spam", "confidence": 0.4, "id": "1", "reasons": ["low_confidence"]}
    hostile = {**review, "text": "\x1b[2J \u202e", "source": {}}
    setup.kafka.produce(setup.review, [json.dumps(hostile).encode()] * 3)
    result = setup.run("tail", "review", "--from-start", "-n", "2")
    assert result.exit_code == 0, result.output
    header, *lines = result.stdout.splitlines()
    assert header.split() == [*["SOURCE", "LABEL", "CONF.", "ROUTE", "OR", "REASONS", "ID", "TEXT"]]
    assert len(lines) == 2
    assert lines[0].split()[1:] == ["spam", "0.400", "low_confidence", "1", "\\x1b[2J", "\\u202e"]
    plain = setup.run("tail", "review", "--from-start", "-n", "2", "--no-header")
    assert plain.stdout.splitlines() == lines
    assert setup.kafka.committed("streamlabel", setup.review) is None


def test_tail_waits_for_what_is_new(setup: Setup) -> None:
    setup.kafka.produce(setup.labels, [b'{"id": "old"}'])
    command = [sys.executable, "-m", "streamlabel", "tail", "labels", "--json", "-n", "1"]
    watching = subprocess.Popen([*command, *setup.options], stdout=subprocess.PIPE, text=True)
    try:

        def has_ended() -> bool:
            # only what is written after it has looked for the end is shown: so keep writing
            setup.kafka.produce(setup.labels, [b'{"id": "new"}'])
            return watching.poll() is not None

        wait_until(has_ended, what="tail saw a new record", every_s=0.3)
        assert watching.stdout is not None
        assert json.loads(watching.stdout.read()) == {"id": "new"}
    finally:
        watching.kill()
        watching.communicate()


def test_tail_of_a_missing_topic_names_it(setup: Setup) -> None:
    setup.labels = "nowhere"
    result = setup.run("tail", "labels", "--set", "kafka.create_topics=true")
    assert result.exit_code == 2
    assert "nowhere" in result.stderr
    assert "nowhere" not in setup.kafka.topics()


def test_check_holds_when_everything_is_there(setup: Setup) -> None:
    result = setup.run("check")
    assert result.exit_code == 0, result.output
    states = [line.split()[:2] for line in result.stdout.splitlines() if line[:1] != " "]
    names = ["configuration", "broker", "topics", "rights", "replay", "topic", "replicas"]
    names += ["sample", "model", "routing", "output", "probe"]
    assert "bytes plus what is copied from the input" in result.stdout
    assert [name for _, name in states] == names
    assert {state for state, _ in states} == {"ok"}


def test_check_creates_nothing_and_names_what_is_missing(setup: Setup) -> None:
    setup.labels = "not-there-yet"
    result = setup.run("check")
    assert result.exit_code == 2
    assert "failed topics" in result.stdout
    assert "not-there-yet" in result.stdout


def test_check_says_which_topics_would_be_created(setup: Setup) -> None:
    setup.labels = "not-there-yet"
    options = setup.options
    options[options.index("kafka.create_topics=false")] = "kafka.create_topics=true"
    result = CliRunner().invoke(app, ["check", *options])
    assert result.exit_code == 0, result.output
    assert "not-there-yet (will be created, 4)" in result.stdout
    assert "not-there-yet" not in setup.kafka.topics()
