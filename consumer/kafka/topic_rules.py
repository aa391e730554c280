"""Which outputs a topic's settings would refuse, reported before the first record. Pure.

Observed with Kafka 4.3: a compacted topic refuses records without a key, also with
cleanup.policy=compact,delete; limits of timestamps are compared with the broker's clock;
min.insync.replicas counts up to the number of replicas of the topic. No compression is refused: we
use versions of the protocol that support every codec.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from streamlabel.consumer.decode.json_fields import METADATA_LIMIT_BYTES
from streamlabel.consumer.output.headers import HEADERS_LIMIT_BYTES

__all__ = ["READ_SETTINGS", "OutputTopic", "Remark", "remarks_on", "replica_remarks"]

# Requested from the broker for every topic.
READ_SETTINGS: Final = (
    "cleanup.policy",
    "compression.type",
    "max.message.bytes",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "message.timestamp.difference.max.ms",  # until Kafka 3.9
    "message.timestamp.type",
    "min.insync.replicas",
    "segment.bytes",
)
_AFTER: Final = "message.timestamp.after.max.ms"
_TIMESTAMP_LIMITS: Final = (
    _AFTER,
    "message.timestamp.before.max.ms",
    "message.timestamp.difference.max.ms",
)
# Outputs have the time of writing as timestamp. Differences of clocks up to this are usual, and an
# output that is sent again after a change of leader may be this old.
_CLOCK_DIFFERENCE_MS: Final = 60_000
# Time that an output takes to reach its broker on a busy machine.
_UNDERWAY_MS: Final = 1_000
# The maximum of what is copied from a record, and about as much again for the labels.
_ROOM_BYTES: Final = 2 * (HEADERS_LIMIT_BYTES + METADATA_LIMIT_BYTES)


@dataclass(frozen=True, slots=True)
class OutputTopic:
    """The known properties of a topic.

    Attributes:
        settings: those that could be read; none without the right DescribeConfigs.
        replicas: the smallest number of any of its partitions.
        in_sync: the smallest number in sync of any of its partitions.
        is_last_resort: the dead-letter topic: records that it refuses cannot be written at all.
        tasks: that write their outputs to it.
    """

    name: str
    settings: Mapping[str, str] = field(default_factory=dict)
    replicas: int = 1
    in_sync: int = 1
    is_last_resort: bool = False
    tasks: tuple[str, ...] = ()


class Remark(NamedTuple):
    """Something that an operator should know about a topic.

    Attributes:
        level: note: has a cost; warning: may refuse, or lose, some outputs; refusal: refuses nearly
            all outputs, or those that cannot be written elsewhere.
    """

    level: Literal["note", "warning", "refusal"]
    text: str


def remarks_on(
    topic: OutputTopic, *, compression: str, least_bytes: int, input_bytes: int | None
) -> Iterator[Remark]:
    """Yield a remark for each kind of outputs that a topic refuses.

    Args:
        topic: an output topic.
        compression: ``kafka.compression``.
        least_bytes: size of the smallest batch of its outputs.
        input_bytes: the largest record on the input topic, None if unknown.
    """
    if not topic.settings:
        yield Remark(
            "warning",
            f"{topic.name}: no right to read its settings, so what it refuses is unknown; grant"
            f" this user DescribeConfigs on the topic {topic.name}",
        )
        return
    yield from _keys(topic)
    yield from _sizes(topic, least_bytes, input_bytes)
    yield from _times(topic)
    yield from _codecs(topic, compression)


def replica_remarks(topic: OutputTopic) -> Iterator[Remark]:
    """Yield a remark if too few replicas are in sync for the topic to accept outputs.

    We wait for all replicas in sync (acks=all), so min.insync.replicas always counts.
    """
    wanted = int(topic.settings.get("min.insync.replicas", "1"))
    needed = min(wanted, topic.replicas)
    if topic.in_sync < needed:
        yield Remark(
            "refusal",
            f"{topic.name}: min.insync.replicas={wanted} and a partition has {topic.in_sync} of"
            f" {topic.replicas} replicas in sync: it accepts nothing until more brokers are back",
        )
    elif topic.replicas < wanted:
        yield Remark(
            "warning",
            f"{topic.name}: min.insync.replicas={wanted} is more than its {topic.replicas}"
            " replica(s): older brokers refuse every output, newer ones use the number of"
            f" replicas; add replicas, or set it to {topic.replicas}",
        )


def _keys(topic: OutputTopic) -> Iterator[Remark]:
    policy = topic.settings.get("cleanup.policy", "")
    if "compact" not in policy:
        return
    if len(topic.tasks) > 1:
        yield Remark(
            "refusal",
            f"{topic.name}: cleanup.policy={policy} keeps only the last output of each key, so that"
            f" the tasks {', '.join(topic.tasks)} would replace each other's; give each a topic of"
            " its own (tasks.NAME.output), or set cleanup.policy=delete",
        )
        return
    what = (
        "dead letters of records without a key, and receipts of replays, which are then lost"
        if topic.is_last_resort
        else "outputs of records without a key, which become dead letters"
    )
    yield Remark(
        "refusal" if topic.is_last_resort else "warning",
        f"{topic.name}: cleanup.policy={policy} refuses {what}, and keeps only the last one of"
        " each key; set cleanup.policy=delete",
    )


def _sizes(topic: OutputTopic, least_bytes: int, input_bytes: int | None) -> Iterator[Remark]:
    limits = {
        name: int(topic.settings[name])
        for name in ("max.message.bytes", "segment.bytes")
        if name in topic.settings
    }
    if not limits:
        return
    name = min(limits, key=lambda each: limits[each])
    setting = f"{topic.name}: {name}={limits[name]}"
    if limits[name] < least_bytes:
        yield Remark(
            "refusal",
            f"{setting} is less than the size of the smallest output ({least_bytes}); raise it",
        )
    elif topic.is_last_resort and input_bytes is not None and limits[name] < input_bytes:
        yield Remark(
            "warning",
            f"{setting} is less than that of input.topic ({input_bytes}): dead letters of larger"
            " records are written without their value and cannot be replayed; raise it",
        )
    elif limits[name] < _ROOM_BYTES:
        yield Remark(
            "warning",
            f"{setting} is small for labels, metadata and headers of a record: larger outputs"
            f" become dead letters (output_too_large); {_ROOM_BYTES} is enough for most",
        )


def _times(topic: OutputTopic) -> Iterator[Remark]:
    if topic.settings.get("message.timestamp.type") == "LogAppendTime":
        return  # the broker's own clock
    for name in _TIMESTAMP_LIMITS:
        limit = int(topic.settings.get(name, _CLOCK_DIFFERENCE_MS))
        setting = f"{topic.name}: {name}={limit}"
        if limit >= _CLOCK_DIFFERENCE_MS:
            continue
        if name == _AFTER:
            yield Remark(
                "warning",
                f"{setting} refuses every output while this machine's clock is further ahead of"
                f" the broker's; set at least {_CLOCK_DIFFERENCE_MS}",
            )
        elif limit < _UNDERWAY_MS:
            yield Remark(
                "refusal",
                f"{setting} refuses outputs that take longer to reach the broker; set at least"
                f" {_CLOCK_DIFFERENCE_MS}, or message.timestamp.type=LogAppendTime",
            )
        else:
            yield Remark(
                "warning",
                f"{setting} refuses outputs that are sent again, and every output while the"
                f" clocks differ by more; set at least {_CLOCK_DIFFERENCE_MS}",
            )


def _codecs(topic: OutputTopic, compression: str) -> Iterator[Remark]:
    codec = topic.settings.get("compression.type", "producer")
    ours = "uncompressed" if compression == "none" else compression
    if codec in {"producer", ours}:
        return
    same = "none" if codec == "uncompressed" else codec
    yield Remark(
        "note",
        f"{topic.name}: compression.type={codec}: the broker compresses every output again, which"
        f" costs it CPU time; kafka.compression: {same} saves that",
    )
