"""What an output topic's settings refuse, said before the first record."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.consumer.core.records import Position, SourceRecord
from streamlabel.consumer.kafka.topic_rules import (
    READ_SETTINGS,
    OutputTopic,
    Remark,
    remarks_on,
    replica_remarks,
)
from streamlabel.consumer.output.dead_letters import dead_letter
from streamlabel.consumer.output.output_size import smallest_dead_letter_bytes
from streamlabel.errors import RecordError

# as Kafka 4.3 answers for a topic that was created without any
DEFAULTS: Mapping[str, str] = {
    "cleanup.policy": "delete",
    "compression.type": "producer",
    "max.message.bytes": "1048588",
    "message.timestamp.after.max.ms": "3600000",
    "message.timestamp.before.max.ms": "9223372036854775807",
    "message.timestamp.type": "CreateTime",
    "min.insync.replicas": "1",
    "segment.bytes": "1073741824",
}


def remarks(
    changed: Mapping[str, str],
    *,
    is_last_resort: bool = False,
    compression: str = "none",
    least_bytes: int = 0,
    input_bytes: int | None = 1_048_588,
) -> Sequence[Remark]:
    topic = OutputTopic("labels", {**DEFAULTS, **changed}, is_last_resort=is_last_resort)
    return list(
        remarks_on(topic, compression=compression, least_bytes=least_bytes, input_bytes=input_bytes)
    )


def test_a_topic_with_default_settings_refuses_nothing() -> None:
    assert set(DEFAULTS) <= set(READ_SETTINGS)
    assert not remarks({})
    assert not remarks({}, is_last_resort=True, least_bytes=2000)


@pytest.mark.parametrize(
    ("policy", "tasks", "refused"),
    [
        ("delete", ("a", "b"), False),
        ("compact", ("a",), False),
        ("compact", ("a", "b"), True),
        ("compact,delete", ("a", "b"), True),
    ],
)
def test_tasks_that_would_replace_each_others_outputs_are_refused(
    policy: str, tasks: tuple[str, ...], refused: bool
) -> None:
    topic = OutputTopic("labels", {**DEFAULTS, "cleanup.policy": policy}, tasks=tasks)
    said = [*remarks_on(topic, compression="none", least_bytes=0, input_bytes=1_048_588)]
    assert [each.level for each in said if "replace each other" in each.text] == (
        ["refusal"] if refused else []
    )


def test_settings_that_may_not_be_read_are_said_with_the_right() -> None:
    [said] = remarks_on(OutputTopic("labels"), compression="none", least_bytes=0, input_bytes=None)
    assert said.level == "warning"
    assert "grant this user DescribeConfigs on the topic labels" in said.text


@pytest.mark.parametrize(
    ("changed", "level"),
    [
        ({"cleanup.policy": "compact"}, "warning"),
        ({"cleanup.policy": "compact,delete"}, "warning"),
        ({"max.message.bytes": "1000"}, "warning"),
        ({"segment.bytes": "1000"}, "warning"),
        ({"message.timestamp.after.max.ms": "0"}, "warning"),
        ({"message.timestamp.after.max.ms": "59999"}, "warning"),
        ({"message.timestamp.before.max.ms": "999"}, "refusal"),
        ({"message.timestamp.before.max.ms": "1000"}, "warning"),
        ({"message.timestamp.before.max.ms": "59999"}, "warning"),
        ({"message.timestamp.difference.max.ms": "999"}, "refusal"),
        ({"compression.type": "gzip"}, "note"),
        ({"compression.type": "zstd"}, "note"),
    ],
)
def test_a_setting_that_refuses_outputs_is_named_with_its_value(
    changed: Mapping[str, str], level: str
) -> None:
    [(name, value)] = changed.items()
    [said] = remarks(changed)
    assert said.level == level
    assert f"labels: {name}={value}" in said.text


@pytest.mark.parametrize(
    "changed",
    [
        {"message.timestamp.before.max.ms": "60000", "message.timestamp.after.max.ms": "60000"},
        {"message.timestamp.before.max.ms": "0", "message.timestamp.type": "LogAppendTime"},
        {"compression.type": "uncompressed"},
        {"max.message.bytes": "65536"},
    ],
)
def test_a_setting_that_refuses_nothing_is_not_mentioned(changed: Mapping[str, str]) -> None:
    assert not remarks(changed)


def test_compression_that_is_ours_costs_the_broker_nothing() -> None:
    assert not remarks({"compression.type": "lz4"}, compression="lz4")
    [said] = remarks({"compression.type": "uncompressed"}, compression="lz4")
    assert "kafka.compression: none saves that" in said.text


def test_what_the_dead_letter_topic_refuses_can_go_nowhere() -> None:
    [said] = remarks({"cleanup.policy": "compact"}, is_last_resort=True)
    assert said.level == "refusal"
    assert "receipts of replays" in said.text


@pytest.mark.parametrize(("limit", "level"), [(899, "refusal"), (900, "warning")])
def test_a_limit_below_the_smallest_dead_letter_is_a_refusal(limit: int, level: str) -> None:
    [said] = remarks({"max.message.bytes": str(limit)}, is_last_resort=True, least_bytes=900)
    assert said.level == level
    assert str(limit) in said.text


@pytest.mark.parametrize(("limit", "is_said"), [(1_999_999, True), (2_000_000, False)])
def test_dead_letters_that_would_lose_their_value_are_said(limit: int, is_said: bool) -> None:
    said = remarks({"max.message.bytes": str(limit)}, is_last_resort=True, input_bytes=2_000_000)
    assert [remark.level for remark in said] == ["warning"] * is_said
    assert not remarks({"max.message.bytes": str(limit)}, input_bytes=2_000_000)


@given(st.integers(1, 5), st.data())
def test_a_topic_with_too_few_in_sync_is_a_refusal_and_no_other(
    replicas: int, data: st.DataObject
) -> None:
    """Kafka counts at most as many as the topic has."""
    wanted = data.draw(st.integers(1, 6))
    in_sync = data.draw(st.integers(0, replicas))
    topic = OutputTopic(
        "labels", {"min.insync.replicas": str(wanted)}, replicas=replicas, in_sync=in_sync
    )
    levels = [remark.level for remark in replica_remarks(topic)]
    takes = in_sync >= min(wanted, replicas)
    assert ("refusal" in levels) is not takes
    assert ("warning" in levels) is (takes and wanted > replicas)


@given(
    st.binary(min_size=1, max_size=300),
    st.binary(min_size=1, max_size=300),
    st.text(max_size=600),
    st.integers(0, 2**62),
)
def test_no_dead_letter_needs_more_than_the_smallest(
    key: bytes, content: bytes, message: str, offset: int
) -> None:
    least = smallest_dead_letter_bytes("texts", "dead", "1.2.3")
    record = SourceRecord(Position("texts", 3, offset), key, content, (), 0, 0.0)
    made = dead_letter(
        record,
        topic="dead",
        error=RecordError("output_too_large", message),
        version="1.2.3",
        limit_bytes=least,
    )
    assert made.size_bytes <= least
