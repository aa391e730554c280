"""A burst of records, followed by single ones: speed of the drain, order, and waiting times."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.kafka_to_kafka import Contender, outputs, running
from benchmarks.open_loop import Arrival, Published, collect, quantile, send, waits_s, warm_up
from testing import texts
from testing.kafka_broker import Cluster

__all__ = ["Burst", "burst", "burst_arrivals", "judge"]

_FRESH_PER_S = 5.0
_LONG_PER_S = 0.5


@dataclass(frozen=True, slots=True)
class Burst:
    """The results of a burst.

    Attributes:
        texts: texts published until the burst was drained, in the order sent.
        texts_per_s: the same per second since the burst.
        out_of_order: outputs after one of a later record of the same partition.
        fresh: short records that arrived before the burst was drained.
        longest_over_backlog: longest wait of a fresh record / (records ahead of it when it arrived
            / texts_per_s).
        median_over_backlog: median of the same ratio over all fresh records.
        longest_fresh_s: that longest wait.
    """

    texts: list[str]
    texts_per_s: float
    out_of_order: int
    fresh: int
    longest_over_backlog: float
    median_over_backlog: float
    longest_fresh_s: float


def burst_arrivals(count: int, *, seconds: float, rng: random.Random) -> list[Arrival]:
    """Return ``count`` texts of the mix at once, followed by short and long ones for a while."""
    mix = texts.heavy_tailed_mix()
    short = texts.uniform_short()
    by_length = sorted(mix, key=len)
    long = by_length[-60:]  # the joined news
    arrivals = [Arrival(0.0, f"burst-{n}", rng.choice(mix)) for n in range(count)]
    for prefix, per_s, chosen in (("fresh", _FRESH_PER_S, short), ("long", _LONG_PER_S, long)):
        for number in range(int(seconds * per_s)):
            at_s = (number + 1) / per_s
            arrivals.append(Arrival(at_s, f"{prefix}-{number}", rng.choice(chosen)))
    return sorted(arrivals, key=lambda arrival: arrival.at_s)


def burst(cluster: Cluster, contender: Contender, arrivals: Sequence[Arrival]) -> Burst:
    """Send them to the contender and evaluate its outputs."""
    with running(contender), outputs(cluster, contender.output_topics) as reader:
        warm_up(cluster, contender.input_topic, reader, texts.heavy_tailed_mix())
        due_s = send(cluster, contender.input_topic, arrivals)
        published = collect(reader, len(arrivals))
    return judge(arrivals, due_s, published)


def judge(
    arrivals: Sequence[Arrival], due_s: Mapping[str, float], published: Sequence[Published]
) -> Burst:
    """Return the figures of a burst from when each record was due and published."""
    waits = waits_s(due_s, published)
    done_s = {key: due_s[key] + wait for key, wait in waits.items()}
    drained_s = max(at for key, at in done_s.items() if key.startswith("burst"))
    counted = [each for each in arrivals if done_s[each.key] <= drained_s]
    per_s = len(counted) / (drained_s - min(due_s.values()))
    fresh = [each.key for each in counted if each.key.startswith("fresh")]
    if not fresh:
        raise SystemExit("the burst was drained before a fresh record arrived: make it larger")

    def over_backlog(key: str) -> float:
        in_front = sum(due_s[o] < due_s[key] and at > due_s[key] for o, at in done_s.items())
        return waits[key] / ((in_front + 1) / per_s)

    longest = max(fresh, key=lambda key: waits[key])
    return Burst(
        texts=[each.text for each in counted],
        texts_per_s=per_s,
        out_of_order=_out_of_order([each.key for each in arrivals], published),
        fresh=len(fresh),
        longest_over_backlog=over_backlog(longest),
        median_over_backlog=quantile(map(over_backlog, fresh), 0.5),
        longest_fresh_s=waits[longest],
    )


def _out_of_order(sent: Sequence[str], published: Sequence[Published]) -> int:
    """Count outputs after one of a later record; a single producer defines the input order."""
    rank = {key: number for number, key in enumerate(sent)}
    latest: dict[tuple[str, int], int] = {}
    wrong = 0
    for output in sorted(published, key=lambda each: each.offset):
        wrong += rank[output.key] < latest.get(output.place, -1)
        latest[output.place] = max(rank[output.key], latest.get(output.place, -1))
    return wrong
