"""Checks of the brokers before the service can run."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from streamlabel import __version__
from streamlabel.config.input_topics import TopicSettings
from streamlabel.config.settings import Settings
from streamlabel.consumer.kafka.access import refuse_missing_rights
from streamlabel.consumer.kafka.limits import OVERHEAD_BYTES
from streamlabel.consumer.kafka.matching_topics import with_topics_found
from streamlabel.consumer.kafka.missing_rights import missing_rights
from streamlabel.consumer.kafka.needed_rights import replay_rights, service_rights
from streamlabel.consumer.kafka.rights import Right, spoken
from streamlabel.consumer.kafka.topic_rules import OutputTopic, Remark, remarks_on, replica_remarks
from streamlabel.consumer.kafka.topics import Topic, find_topics, refused_topics
from streamlabel.consumer.output.output_size import smallest_dead_letter_bytes
from streamlabel.errors import BrokerError, ConfigError
from streamlabel.tools.preflight import PreflightCheck

__all__ = ["check_broker"]

_SEEING: Final = ("Describe", "topic")


async def check_broker(settings: Settings) -> AsyncIterator[PreflightCheck]:
    """Check that the brokers answer, the topics exist, and this user has all rights.

    Nothing is created, registered or joined.
    """
    patterns = [each for each in settings.input.topics if each.pattern is not None]
    try:
        settings = await with_topics_found(settings)
        names = [*settings.input.weights, *settings.output_topics]
        found = await find_topics(settings.kafka, names)
    except (BrokerError, ConfigError) as error:
        yield PreflightCheck("broker", failure=error)
        return
    yield PreflightCheck("broker", f"{settings.kafka.bootstrap_servers} answers")
    for entry in patterns:
        yield _matching(settings, entry)
    try:
        asked = await _ask_for_rights(settings, found)
    except BrokerError as error:
        yield PreflightCheck("rights", failure=error)
        return
    refused: Sequence[Right] = ()
    try:
        refused = await _may_not_create(settings, [name for name in names if name not in found])
    except BrokerError as error:
        yield PreflightCheck("topics", failure=error, topics=found)
    else:
        yield _topics(settings, found, [name for name in names if name not in asked.hidden])
    yield _rights(settings, asked, [*refused, *asked.missing])
    yield _replay(asked)
    for each in _output_topics(settings, found):
        yield each


def _matching(settings: Settings, entry: TopicSettings) -> PreflightCheck:
    """Say which topics a pattern matches; that there is none fails only if there is no other."""
    name, inputs = f"pattern {entry.pattern}", settings.input.weights
    found = [each for each in inputs if entry.matches(each)]
    own = f"{len(found)} topic(s): {', '.join(found)}" if found else "no topic"
    if inputs and not settings.input.has_patterns:
        return PreflightCheck(name, own)
    problem = f"input.topics: no topic matches {entry.pattern}: create one, or correct the pattern"
    return PreflightCheck(name, failure=ConfigError(problem))


class _Asked(NamedTuple):
    """The result of the check of this user's rights.

    Attributes:
        needed: rights that the service needs.
        missing: those that this user lacks.
        replay: rights for ``dlq replay`` that this user lacks.
        is_open: there is no authorizer; None if unknown.
    """

    needed: Sequence[Right]
    missing: Sequence[Right]
    replay: Sequence[Right]
    is_open: bool | None

    @property
    def hidden(self) -> set[str]:
        """Topics that this user may not describe, so that their existence is unknown."""
        return {name for operation, kind, name in self.missing if (operation, kind) == _SEEING}


async def _ask_for_rights(settings: Settings, found: Mapping[str, Topic]) -> _Asked:
    def partitions_of(topic: str) -> int:
        return found[topic].partitions if topic in found else settings.kafka.partitions

    needed = service_rights(
        settings, partitions={topic: partitions_of(topic) for topic in settings.input.weights}
    )
    replay = replay_rights(
        settings, partitions=partitions_of(settings.output.dead_letter_topic), execute=True
    )
    answer = await missing_rights(settings.kafka, tuple(dict.fromkeys((*needed, *replay))))
    return _Asked(
        needed,
        [right for right in needed if right in answer.missing],
        [right for right in replay if right in answer.missing],
        answer.is_open,
    )


async def _may_not_create(settings: Settings, absent: Sequence[str]) -> Sequence[Right]:
    if not absent or not settings.kafka.create_topics:
        return ()
    refused = await refused_topics(settings.kafka, list(dict.fromkeys(absent)))
    return [Right("Create", "topic", name) for name in refused]


def _topics(settings: Settings, found: Mapping[str, Topic], names: Sequence[str]) -> PreflightCheck:
    """Report which topics exist, among those that this user may see."""
    missing = [name for name in names if name not in found]
    there = [f"{name} ({found[name].partitions} partitions)" for name in names if name in found]
    if missing and not settings.kafka.create_topics:
        absent = ConfigError(
            f"topic(s) {', '.join(missing)} do not exist: create them, or set"
            " kafka.create_topics: true"
        )
        return PreflightCheck("topics", ", ".join(there), absent, topics=found)
    planned = [f"{name} (will be created, {settings.kafka.partitions})" for name in missing]
    return PreflightCheck("topics", ", ".join(there + planned), topics=found)


def _rights(settings: Settings, asked: _Asked, missing: Sequence[Right]) -> PreflightCheck:
    try:
        refuse_missing_rights(settings.kafka, missing)
    except BrokerError as error:
        return PreflightCheck("rights", failure=error)
    if asked.is_open:
        return PreflightCheck("rights", "the cluster has no authorizer: every user has all rights")
    return PreflightCheck("rights", "; ".join(spoken(asked.needed)))


def _replay(asked: _Asked) -> PreflightCheck:
    """Report whether this user could run ``dlq replay``, which may be the task of another user."""
    if not asked.replay:
        return PreflightCheck("replay rights", "this user may run dlq replay")
    return PreflightCheck(
        "replay rights",
        f"for dlq replay this user also needs {'; '.join(spoken(asked.replay))}",
    )


def _output_topics(settings: Settings, found: Mapping[str, Topic]) -> Iterator[PreflightCheck]:
    """Check which outputs the existing output topics will refuse."""
    names = settings.output
    outputs = [
        OutputTopic(
            name,
            settings=found[name].settings,
            replicas=found[name].replicas,
            in_sync=found[name].in_sync,
            is_last_resort=name == names.dead_letter_topic,
            tasks=settings.tasks_writing_to(name),
        )
        for name in settings.output_topics
        if name in found
    ]
    if not outputs:
        return
    inputs = settings.input.weights
    least_bytes = OVERHEAD_BYTES + smallest_dead_letter_bytes(
        max(inputs, key=len, default=settings.input.topic), names.dead_letter_topic, __version__
    )
    sizes = [found[name].max_batch_bytes for name in inputs if name in found]
    remarks = [
        remark
        for topic in outputs
        for remark in remarks_on(
            topic,
            compression=settings.kafka.compression,
            # the size of labels and reviews is known only with the model
            least_bytes=least_bytes if topic.is_last_resort else 0,
            input_bytes=max((size for size in sizes if size is not None), default=None),
        )
    ]
    refusals = _texts(remarks, "refusal")
    yield PreflightCheck(
        "topic settings",
        "; ".join(_texts(remarks, "note"))
        or ("" if remarks else "their settings refuse no output"),
        ConfigError("; ".join(refusals)) if refusals else None,
        _texts(remarks, "warning"),
    )
    remarks = [remark for topic in outputs for remark in replica_remarks(topic)]
    refusals = _texts(remarks, "refusal")
    fewest = min(outputs, key=lambda topic: topic.in_sync)
    yield PreflightCheck(
        "replicas",
        f"at least {fewest.in_sync} in sync of every output partition",
        BrokerError("; ".join(refusals), True) if refusals else None,
        _texts(remarks, "warning"),
    )


def _texts(remarks: Sequence[Remark], level: str) -> list[str]:
    return [remark.text for remark in remarks if remark.level == level]
