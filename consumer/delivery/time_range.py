"""A bounded run: which part of the input it reads, and how the group remembers it. Pure.

The first member that is assigned a partition fixes its end and stores it with the first offset, in
the metadata of the group's offsets. So all members and all later processes agree on where the
partition ends, whichever of them reads it; and a group that belongs to a service, or to another
range, is recognized.
"""

import re
from typing import Final, NamedTuple

from streamlabel.models.core.values import value

__all__ = ["Mark", "TimeRange", "may_continue"]

_MARK: Final = re.compile(r"(?P<topic_id>\S*) range=(?P<name>\S+) end=(?P<end>\d+)")


@value
class TimeRange:
    """Records between two times, in Kafka's time stamps.

    Attributes:
        since_ms: the first time, epoch milliseconds; None: from the oldest record.
        until_ms: the first time that is not included; None: up to the end of each partition at the
            moment when its reading begins.
        continues: begin at the offsets that a service has stored for the group, if there are any.
    """

    since_ms: int | None
    until_ms: int | None
    continues: bool = False

    @property
    def name(self) -> str:
        """The range as it is stored: two times, or ``oldest`` and ``now``."""
        since = "oldest" if self.since_ms is None else str(self.since_ms)
        return f"{since}..{'now' if self.until_ms is None else self.until_ms}"


class Mark(NamedTuple):
    """What is stored with an offset, as its metadata.

    Attributes:
        topic_id: of the topic that the offset belongs to; "" if the brokers know no ids.
        name: of the range; "" if the offset is that of a service.
        end: of a range: where the partition ends.
    """

    topic_id: str
    name: str = ""
    end: int = 0

    @property
    def metadata(self) -> str:
        """The mark as text."""
        return f"{self.topic_id} range={self.name} end={self.end}" if self.name else self.topic_id

    @classmethod
    def of(cls, metadata: str) -> "Mark":
        """Return the mark in an offset's metadata."""
        found = _MARK.fullmatch(metadata)
        return cls(found["topic_id"], found["name"], int(found["end"])) if found else cls(metadata)


def may_continue(next_offset: int, mark: Mark, wanted: TimeRange) -> bool | None:
    """Return whether a stored offset belongs to this run.

    Returns:
        True: continue there, up to the stored end. False: begin there, with an end of our own.
        None: it belongs to something else, so records of the range could be missed.
    """
    is_ours = mark.name == wanted.name
    if wanted.continues:  # catches up again and again: a range that is complete is an earlier one
        return is_ours and next_offset < mark.end
    return True if is_ours else None
