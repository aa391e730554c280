"""``streamlabel check`` reads the output topics' settings; what it says, the broker does."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from typer.testing import CliRunner

from streamlabel.__main__ import app
from testing.kafka_broker import SHORT_LIVED, Cluster, KafkaMissingError, LocalCluster, wait_until
from tests.requirements import missing

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]


def checked(
    kafka: Cluster, topics: Mapping[str, str], code: int | None = None
) -> Mapping[str, Mapping[str, Any]]:
    """What check finds, by name."""
    settings = {
        "kafka.bootstrap_servers": kafka.bootstrap,
        "input.topic": topics["texts"],
        "output.labels_topic": topics["labels"],
        "output.review_topic": topics["review"],
        "output.dead_letter_topic": topics["dead"],
        "model.backend": "fake",
    }
    options = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    result = CliRunner().invoke(app, ["check", "--json", *options])
    if code is not None:
        assert result.exit_code == code, result.output
    return {each["name"]: each for each in json.loads(result.stdout)["checks"]}


def made(kafka: Cluster, replicas: int = 1) -> dict[str, str]:
    names = ("texts", "labels", "review", "dead")
    return {name: kafka.topic(name, replicas=replicas) for name in names}


def test_topics_with_default_settings_refuse_nothing(kafka: Cluster) -> None:
    found = checked(kafka, made(kafka), 0)
    assert found["topic settings"]["detail"] == "their settings refuse no output"
    assert not found["topic settings"]["warnings"]
    assert found["replicas"]["ok"]
    assert not found["replicas"]["warnings"]


def test_each_of_several_input_topics_has_to_exist(kafka: Cluster) -> None:
    topics = made(kafka)
    options = ["--set", f"kafka.bootstrap_servers={kafka.bootstrap}", "--set", "model.backend=fake"]
    inputs = json.dumps([{"name": topics["texts"]}, {"name": "imported", "weight": 2}])
    options += ["--set", f"input.topics={inputs}"]
    for setting, name in (("labels", "labels"), ("review", "review"), ("dead_letter", "dead")):
        options += ["--set", f"output.{setting}_topic={topics[name]}"]
    result = CliRunner().invoke(app, ["check", "--json", *options])
    assert result.exit_code == 2, result.output
    [found] = [each for each in json.loads(result.stdout)["checks"] if each["name"] == "topics"]
    assert "topic(s) imported do not exist" in found["failure"]
    assert topics["texts"] in found["detail"]


@pytest.mark.parametrize(
    ("setting", "code"),
    [
        ({"cleanup_policy": "compact"}, 0),
        ({"cleanup_policy": "compact,delete"}, 0),
        ({"max_message_bytes": 1500}, 0),
        ({"message_timestamp_before_max_ms": 0}, 2),
    ],
    ids=str,
)
def test_what_the_broker_refuses_is_said_before(
    kafka: Cluster, setting: dict[str, str | int], code: int
) -> None:
    [(name, value)] = setting.items()
    topics = made(kafka)
    kafka.configure(topics["labels"], **setting)
    said = checked(kafka, topics, code)["topic settings"]
    remark = said["failure"] or "".join(said["warnings"])
    assert f"{topics['labels']}: {name.replace('_', '.')}={value}" in remark
    kafka.produce(topics["labels"], [b"x" * 2000])
    assert kafka.read(topics["labels"]) == []


def test_a_dead_letter_topic_that_refuses_is_a_failure(kafka: Cluster) -> None:
    topics = made(kafka)
    kafka.configure(topics["dead"], cleanup_policy="compact")
    assert "compact" in checked(kafka, topics, 2)["topic settings"]["failure"]


def test_a_clock_that_runs_ahead_and_a_second_compression_are_said(kafka: Cluster) -> None:
    topics = made(kafka)
    kafka.configure(topics["labels"], message_timestamp_after_max_ms=1000)
    kafka.configure(topics["review"], compression_type="gzip")
    said = checked(kafka, topics, 0)["topic settings"]
    assert f"{topics['review']}: compression.type=gzip" in said["detail"]
    [warning] = said["warnings"]
    assert "message.timestamp.after.max.ms=1000" in warning


def test_more_replicas_wanted_than_there_are_is_a_warning(kafka: Cluster) -> None:
    topics = made(kafka)
    kafka.configure(topics["labels"], min_insync_replicas=2)
    [warning] = checked(kafka, topics, 0)["replicas"]["warnings"]
    assert f"{topics['labels']}: min.insync.replicas=2 is more than its 1 replica(s)" in warning
    kafka.produce(topics["labels"], [b"taken"])
    assert len(kafka.read(topics["labels"])) == 1


@pytest.fixture
def two_brokers() -> Iterator[LocalCluster]:
    try:
        cluster = LocalCluster.start(brokers=2, java=SHORT_LIVED)
    except KafkaMissingError as error:
        missing(str(error))
    try:
        yield cluster
    finally:
        cluster.close()


def test_too_few_replicas_in_sync_is_a_failure(two_brokers: LocalCluster) -> None:
    topics = made(two_brokers, replicas=2)
    two_brokers.configure(topics["labels"], min_insync_replicas=2)
    assert checked(two_brokers, topics, 0)["replicas"]["ok"]
    # the controllers are two as well: one that is paused leaves no majority, but one that stops
    # says goodbye before
    two_brokers.stop_node(2)

    def is_said() -> bool:
        found = checked(two_brokers, topics).get("replicas", {})
        return "1 of 2 replicas in sync" in str(found.get("failure"))

    wait_until(is_said, what="check sees one replica", timeout_s=60)
