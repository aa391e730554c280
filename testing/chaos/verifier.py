"""Says what a history of a run proves: what was lost, doubled, out of order. Pure.

Two lists go in: what was sent, which is what the broker acknowledged and what is in the input topic
without that, and every outcome that a reader with ``read_committed`` found in the output topics.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

__all__ = [
    "At",
    "Expected",
    "Findings",
    "Outcome",
    "Sent",
    "Window",
    "all_sent",
    "judge",
    "judge_tasks",
    "outdated",
]

# What must become of a record; "any": exactly one outcome, whichever.
Expected = Literal["result", "dead_letter", "any"]

_SHOWN = 5  # examples of each kind in a report
_COUNTS = (
    "lost",
    "stuck",
    "doubled",
    "unexplained",
    "out_of_order",
    "phantom",
    "misrouted",
    "mixed_up",
)


class At(NamedTuple):
    """A place in the input topic.

    A topic that is deleted and created again has the same offsets once more: those of the second
    one count from ``driver.GENERATION`` on, so that a place means one record.
    """

    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Sent:
    """A record of the input topic; ``id`` None where its outcome cannot carry one."""

    at: At
    expected: Expected = "result"
    id: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """One record of an output topic, by the input record it names as its source.

    Attributes:
        task: whose outcome it is; None: of the stream's only one, or of all.
    """

    source: At
    topic: str
    partition: int
    offset: int
    is_dead: bool = False
    id: str | None = None
    key: str | None = None
    task: str | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """What was in flight when a fault struck: partition -> [committed, written) offsets.

    These may be repeated once after this fault, with at least once; nothing else may.

    Attributes:
        spans: the offsets.
        is_early: what is repeated was read before its turn: the first copy says nothing about
            the order.
    """

    spans: Mapping[int, tuple[int, int]]
    is_early: bool = False

    def covers(self, at: At) -> bool:
        """Whether ``at`` was written and not committed."""
        begin, end = self.spans.get(at.partition, (0, 0))
        return begin <= at.offset < end

    @property
    def items(self) -> int:
        """How many records that is."""
        return sum(max(0, end - begin) for begin, end in self.spans.values())


@dataclass(frozen=True, slots=True)
class Findings:
    """Counts of each kind of damage, with the first examples.

    Attributes:
        lost: sent, without outcome, and the group's offset has passed them.
        stuck: sent, without outcome, still to be read: no progress was made.
        doubled: outcomes beyond the first of a record.
        unexplained: doubled outcomes that were in flight at no fault, or more often than that.
        out_of_order: first outcomes of one partition in one topic that stand before an older one.
        phantom: outcomes of records that nobody sent.
        misrouted: a result where a dead letter was due, or the other way round.
        mixed_up: outcomes that carry the id of another record.
    """

    records: int
    lost: int = 0
    stuck: int = 0
    doubled: int = 0
    unexplained: int = 0
    out_of_order: int = 0
    phantom: int = 0
    misrouted: int = 0
    mixed_up: int = 0
    examples: Mapping[str, Sequence[At]] = field(default_factory=dict)

    def damage(self, *, doubles_allowed: bool = False) -> dict[str, int]:
        """Return the counts that should be zero and are not.

        Args:
            doubles_allowed: at least once: doubles are damage only if they are unexplained.
        """
        names = ["lost", "stuck", "out_of_order", "phantom", "misrouted", "mixed_up"]
        names.append("unexplained" if doubles_allowed else "doubled")
        return {name: count for name in names if (count := getattr(self, name))}


def all_sent(acknowledged: Sequence[Sent], there: Iterable[Sent]) -> list[Sent]:
    """Return every record that must have an outcome.

    A record is sent if it was acknowledged, even if it is not in the topic any more, and also if it
    is in the topic although the driver was never told: the acknowledgement of a write is lost if
    the broker goes away with it.

    Args:
        acknowledged: what the driver was told.
        there: what a reader finds in the input topic, of what the driver made; in its order.
    """
    known = {record.at for record in acknowledged}
    return [*acknowledged, *(record for record in there if record.at not in known)]


def judge_tasks(
    tasks: Collection[str],
    sent: Sequence[Sent],
    outcomes: Sequence[Outcome],
    *,
    committed: Mapping[int, int],
    windows: Iterable[Window] = (),
    excused: Collection[At] = (),
) -> Findings:
    """Judge the outcomes of every task as if it were the only one; return the sum of the damage.

    Args:
        tasks: of the service; empty: it has only one.
        sent: as for ``judge``.
        outcomes: of all tasks.
        committed: as for ``judge``.
        windows: as for ``judge``.
        excused: as for ``judge``.
    """
    windows = list(windows)
    of_each = [[each for each in outcomes if each.task in {None, task}] for task in tasks]
    first, *others = [
        judge(sent, each, committed=committed, windows=windows, excused=excused)
        for each in of_each or [list(outcomes)]
    ]
    for other in others:
        counts = {name: getattr(first, name) + getattr(other, name) for name in _COUNTS}
        first = replace(first, **counts, examples={**other.examples, **first.examples})
    return first


def judge(
    sent: Sequence[Sent],
    outcomes: Sequence[Outcome],
    *,
    committed: Mapping[int, int],
    windows: Iterable[Window] = (),
    excused: Collection[At] = (),
) -> Findings:
    """Compare what was sent with what came out.

    Args:
        sent: every input record, see ``all_sent``.
        outcomes: in the order of each output partition.
        committed: the group's next offset per input partition, after the run.
        windows: what was in flight, one per fault.
        excused: records that need no outcome, because they were deleted before they had one.
    """
    windows = list(windows)
    known = {record.at: record for record in sent}
    copies = Counter(outcome.source for outcome in outcomes)
    missing = [at for at in known if at not in copies and at not in excused]
    found: dict[str, list[At]] = {
        "lost": [at for at in missing if at.offset < committed.get(at.partition, 0)],
        "stuck": [at for at in missing if at.offset >= committed.get(at.partition, 0)],
        "doubled": [at for at, count in copies.items() for _ in range(count - 1)],
        "unexplained": _unexplained(copies, windows),
        "out_of_order": _out_of_order(outcomes, [each for each in windows if each.is_early]),
        "phantom": [at for at in copies if at not in known],
        "misrouted": [
            outcome.source
            for outcome in outcomes
            if (record := known.get(outcome.source)) is not None
            and record.expected != "any"
            and outcome.is_dead != (record.expected == "dead_letter")
        ],
        "mixed_up": [
            outcome.source
            for outcome in outcomes
            if (record := known.get(outcome.source)) is not None
            and None not in {record.id, outcome.id}
            and outcome.id != record.id
        ],
    }
    counts = {name: len(places) for name, places in found.items()}
    examples = {name: places[:_SHOWN] for name, places in found.items() if places}
    return Findings(len(known), **counts, examples=examples)


def _unexplained(copies: Mapping[At, int], windows: Sequence[Window]) -> list[At]:
    found = []
    for at, count in copies.items():
        allowed = 1 + sum(window.covers(at) for window in windows)
        found += [at] * max(0, count - allowed)
    return found


def outdated(sent: Sequence[Sent], outcomes: Sequence[Outcome]) -> list[At]:
    """Return, of each key, the newest record, if its outcome is not the last of the key.

    Args:
        sent: every input record; those without a key do not count.
        outcomes: of one compacted topic, where the last one of a key is what stays.
    """
    newest: dict[str, At] = {}
    for record in sent:
        if record.key is not None and record.expected == "result":
            newest[record.key] = max(record.at, newest.get(record.key, record.at))
    ordered = sorted(outcomes, key=lambda each: (each.partition, each.offset))
    last = {outcome.key: outcome.source for outcome in ordered}
    return [at for key, at in newest.items() if last.get(key) != at]


def _out_of_order(outcomes: Sequence[Outcome], early: Sequence[Window] = ()) -> list[At]:
    """Return first outcomes behind a younger one of their partition, in the same output.

    Repetitions are left out: they follow what was there before, which is what doubled counts.
    So are copies of what was read before its turn, if it was read again in its turn.
    """
    newest: dict[tuple[str, int, int], int] = defaultdict(lambda: -1)
    copies = Counter(outcome.source for outcome in outcomes)
    seen: set[At] = set()
    found = []
    for outcome in sorted(outcomes, key=lambda each: (each.topic, each.partition, each.offset)):
        if outcome.source in seen:
            continue
        if copies[outcome.source] > 1 and any(each.covers(outcome.source) for each in early):
            copies[outcome.source] -= 1
            continue
        seen.add(outcome.source)
        stream = (outcome.topic, outcome.partition, outcome.source.partition)
        if outcome.source.offset < newest[stream]:
            found.append(outcome.source)
        newest[stream] = max(newest[stream], outcome.source.offset)
    return found
