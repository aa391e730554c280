"""The rights that the service, and a replay, require. Pure."""

from collections.abc import Iterator, Mapping

from streamlabel.config.settings import Settings
from streamlabel.consumer.core.records import TopicPartition
from streamlabel.consumer.kafka.rights import Kind, Operation, Right
from streamlabel.consumer.kafka.transactional_ids import input_id, replay_id

__all__ = ["replay_rights", "service_rights"]


def service_rights(settings: Settings, *, partitions: int | Mapping[str, int]) -> tuple[Right, ...]:
    """Return what ``streamlabel run`` needs.

    Args:
        settings: of the service.
        partitions: of each input topic, or by its name; with exactly once each has a transactional
            id.
    """
    kafka = settings.kafka
    rights = [
        right
        for topic in settings.input.weights
        for right in _on("topic", topic, "Read", "Describe")
    ]
    for topic in settings.output_topics:
        rights += _on("topic", topic, "Write", "Describe")
    rights += _on("group", kafka.group_id, "Read", "Describe")
    if settings.delivery.guarantee == "exactly_once":
        for topic in settings.input.weights:
            count = partitions if isinstance(partitions, int) else partitions[topic]
            for number in range(count):
                name = input_id(kafka.group_id, TopicPartition(topic, number))
                rights += _on("transactional id", name, "Write", "Describe")
    return tuple(dict.fromkeys(rights))


def replay_rights(settings: Settings, *, partitions: int, execute: bool) -> tuple[Right, ...]:
    """Return what ``streamlabel dlq replay`` needs.

    Args:
        settings: of the service.
        partitions: of the dead-letter topic; each has a transactional id.
        execute: False: a dry run, which writes nothing.
    """
    dead = settings.output.dead_letter_topic
    rights = [*_on("topic", dead, "Read", "Describe")]
    for topic in settings.input.weights:
        rights += _on("topic", topic, "Describe")
    if execute:
        for topic in (*settings.input.weights, dead):
            rights += _on("topic", topic, "Write")
        for number in range(partitions):
            name = replay_id(TopicPartition(dead, number))
            rights += _on("transactional id", name, "Write", "Describe")
    return tuple(dict.fromkeys(rights))


def _on(kind: Kind, name: str, *operations: Operation) -> Iterator[Right]:
    return (Right(operation, kind, name) for operation in operations)
