"""Decides where to start reading a partition, from the offsets that the group has stored. Pure.

``input.start_at`` is for a group that has no offsets for the topic at all. A partition that is
detected later is read from its beginning, so that records written before its detection are not
lost. To distinguish the two cases after a restart, a new group that does not start at the beginning
stores its start offsets for all partitions at once, before it reads the first record.

An offset belongs to a topic, not to a name. A topic that is deleted and created again has another
id, so the offsets that we store contain the id. Offsets of another id are out of range.
"""

from collections.abc import Mapping
from typing import Literal

from streamlabel.consumer.delivery.time_range import Mark
from streamlabel.models.core.values import value

__all__ = ["At", "Edge", "First", "Policy", "Side", "Stop", "Stored", "Wait", "beginning"]

Side = Literal["earliest", "latest"]


@value
class Stored:
    """The group's stored offset of a partition.

    Attributes:
        topic_id: empty if none was stored.
        mark: the topic id, and the range of a bounded run.
    """

    next_offset: int
    topic_id: str = ""
    mark: Mark = Mark("")


@value
class Policy:
    """The settings ``input.start_at`` and ``input.out_of_range``."""

    start_at: Side
    out_of_range: Literal["stop", "earliest", "latest"]


@value
class At:
    """Start at this offset, which is stored."""

    offset: int


@value
class Edge:
    """Start at an edge of the partition; store the offset first if ``is_jump``."""

    side: Side
    is_jump: bool = False


@value
class First:
    """Store the start offsets of all partitions, then decide again."""

    side: Side


@value
class Wait:
    """Another member has to do ``First``; decide again soon."""


@value
class Stop:
    """``input.out_of_range`` is ``stop``.

    Attributes:
        why: the topic was recreated, or the offset is beyond this end.
    """

    why: Literal["recreated", "behind_the_end"]


def beginning(
    partition: int,
    stored: Mapping[int, Stored],
    policy: Policy,
    *,
    topic_id: str,
    was_recreated: bool,
    is_first: bool,
    end: int | None = None,
) -> At | Edge | First | Wait | Stop:
    """Decide where to start reading ``partition``.

    Args:
        partition: its number.
        stored: what the group has stored for the topic, by partition.
        policy: the settings.
        topic_id: of the topic as it is now; empty if the brokers know no ids.
        was_recreated: this process has seen the topic with another id.
        is_first: this member owns the partition with the lowest number, so only it may store the
            start offsets of a new group. Two members would overwrite each other's.
        end: of the partition, if the position was beyond it.
    """
    own = stored.get(partition)
    if own is not None and not _fits(own, topic_id, was_recreated=was_recreated):
        return _jump(policy, "recreated")
    if own is not None and (end is None or own.next_offset <= end):
        return At(own.next_offset)
    if end is not None:
        return _jump(policy, "behind_the_end")
    if any(_fits(each, topic_id, was_recreated=was_recreated) for each in stored.values()):
        return Edge("earliest")  # detected later
    return _of_new_group(policy, is_recreated=was_recreated or bool(stored), is_first=is_first)


def _fits(stored: Stored, topic_id: str, *, was_recreated: bool) -> bool:
    """Whether the offset is of this topic; without an id, only if the topic was not recreated."""
    if not stored.topic_id:
        return not was_recreated
    return not topic_id or stored.topic_id == topic_id


def _jump(policy: Policy, why: Literal["recreated", "behind_the_end"]) -> Edge | Stop:
    if policy.out_of_range == "stop":
        return Stop(why)
    return Edge(policy.out_of_range, is_jump=True)


def _of_new_group(
    policy: Policy, *, is_recreated: bool, is_first: bool
) -> Edge | First | Wait | Stop:
    if not is_recreated and policy.start_at == "earliest":
        return Edge("earliest")
    side = policy.out_of_range if is_recreated else policy.start_at
    if side == "stop":
        return Stop("recreated")
    return First(side) if is_first else Wait()
