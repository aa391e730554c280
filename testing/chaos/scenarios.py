"""Every row of the chaos table: fault, load, number of faults, and what may be doubled."""

import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

from testing.chaos import faults, topic_faults
from testing.chaos.driver import POISON, Load, Value
from testing.chaos.evidence import are_owed, copies, warnings
from testing.chaos.faults import Fault
from testing.chaos.fuzz import bad_values
from testing.chaos.owed_markers import Debt, owed_markers
from testing.chaos.place import Place
from testing.chaos.run import AT_WORK_S, Delivery, Run, Setup
from testing.chaos.verifier import Findings
from testing.kafka_broker import wait_until

__all__ = ["BOTH", "CONTROLS", "SCENARIOS", "Doubles", "Row", "Scenario", "perform"]

BOTH: tuple[Delivery, ...] = ("exactly_once", "at_least_once")

# What may be doubled: nothing; what was in flight at a fault; that, and one request that a process
# had on the wire when it was paused; whatever it was.
Doubles = Literal["none", "in flight", "late request", "any"]

# A request holds what was complete and not written yet, which is one batch of the model where the
# model is slow; and what needs no model, in between.
_REQUEST_ITEMS = 40


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row, for each delivery.

    Attributes:
        fault: what strikes; None: the load itself is bad.
        briefly: the same in the short form, where it takes less time; None: no difference.
        short: faults in CI; 0: only the long form has it.
        long: faults in the long form.
        doubles: allowed with at least once.
        doubles_exactly_once: allowed with exactly once.
        setup: of the run.
        records: without a fault: how many records, short and long.
        values: makes the records, given how many and the seed.
        evidence: log events of which one says that a fault met work; without: work was under way.
        brokers: nodes it needs.
        shakes_broker: it strikes the place and not a process: runs of both deliveries share it,
            and nothing else may run there.
        deliveries: which rows there are.
        shows: the service is wrong on purpose, and this is how the problem begins that must be
            found; the run ends when it shows. Empty: it is not.
    """

    name: str
    fault: Fault | None = None
    briefly: Fault | None = None
    short: int = 1
    long: int = 10
    doubles: Doubles = "none"
    doubles_exactly_once: Doubles = "none"
    setup: Setup = field(default_factory=Setup)
    records: tuple[int, int] = (1500, 10_000)
    values: Callable[[int, int], list[Value]] | None = None
    evidence: tuple[str, ...] = ()
    brokers: int = 1
    shakes_broker: bool = False
    deliveries: tuple[Delivery, ...] = BOTH
    shows: str = ""

    def is_caught(self, problems: Sequence[str]) -> bool:
        """Whether a run found what is wrong with a service that is wrong on purpose."""
        return any(problem.startswith(self.shows) for problem in problems)

    @property
    def slug(self) -> str:
        """For topics and arguments."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower())


@dataclass(frozen=True, slots=True)
class Row:
    """What one run of a scenario showed.

    Attributes:
        hits: faults that met in-flight work.
        in_flight: records without outcome at the faults, in sum.
        seconds_to_recover: the longest, from a fault's end until what was in flight then is out.
        owed_markers: partitions in which the broker ended transactions without their markers;
            doubles that stand in these alone, with exactly once, are the broker's.
        problems: everything that makes the row a failure.
    """

    fault: str
    delivery: Delivery
    brokers: int
    records: int
    faults: int
    hits: int
    lost: int
    doubled: int
    out_of_order: int
    stuck: int
    in_flight: int
    seconds_to_recover: float | None
    seconds_to_recover_median: float | None
    seconds: float
    seed: int
    exit_codes: Sequence[int | None]
    owed_markers: int
    problems: Sequence[str]

    @property
    def passed(self) -> bool:
        """Whether it shows what the table claims."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "passed": self.passed}


def perform(
    scenario: Scenario,
    place: Place,
    deliveries: Sequence[Delivery],
    *,
    seed: int,
    folder: Path,
    is_long: bool = False,
    rounds: int | None = None,
    records: int | None = None,
) -> list[Row]:
    """Run a scenario once, the given deliveries side by side; return a row for each.

    With ``is_long`` as many faults or records as the long form wants; ``rounds`` faults if given,
    and ``records`` where the load itself is the fault.
    """
    began_s = time.monotonic()
    records = records or scenario.records[is_long]
    setup = scenario.setup
    if scenario.values is not None:
        setup = replace(setup, values=scenario.values(records, seed))
    fault = scenario.fault if is_long or scenario.briefly is None else scenario.briefly
    with ExitStack() as stack:
        runs = [
            stack.enter_context(
                Run(place, delivery, setup, name=scenario.slug, seed=seed, folder=folder)
            )
            for delivery in deliveries
        ]
        if fault is None:
            for run in runs:
                run.wait_until_sent(records)
            hits = [0] * len(runs)
        else:
            count = rounds or (scenario.long if is_long else scenario.short)
            enough = len(runs) if scenario.evidence and not is_long else None
            hits = _strike_often(scenario, fault, runs, count, enough=enough)
        for run in runs:
            run.driver.stop()
        return [
            _row(scenario, run, run.finish(), hits=count, seconds=time.monotonic() - began_s)
            for run, count in zip(runs, hits, strict=True)
        ]


def _strike_often(
    scenario: Scenario, fault: Fault, runs: Sequence[Run], count: int, *, enough: int | None
) -> list[int]:
    """Strike ``count`` times, or until that teaches nothing new; return the hits of each run.

    ``enough`` hits are enough, where a fault may miss and one that does not is looked for.
    """
    hits = [0] * len(runs)
    for _ in range(count):
        met = _strike(fault, runs, scenario.evidence)
        hits = [before + each for before, each in zip(hits, met, strict=True)]
        damaged = any(run.has_failed or (scenario.shows and run.is_damaged()) for run in runs)
        if damaged or (enough is not None and sum(map(bool, hits)) >= enough):
            break
    return hits


def _strike(fault: Fault, runs: Sequence[Run], evidence: Sequence[str]) -> list[bool]:
    """Strike once at a random moment; return per run whether that met work."""
    wait_until(
        lambda: all(run.is_ready() for run in runs), what="all are at work", timeout_s=AT_WORK_S
    )
    time.sleep(runs[0].rng.uniform(0.0, 1.0))
    waiting = [run.waiting() for run in runs]
    for run in runs:
        run.met_work = run.is_at_work()  # a fault that strikes one process says so itself
    said = [run.said(*evidence) for run in runs]
    over_s = fault(runs)
    for number, run in enumerate(runs):
        run.in_flight.append(len(waiting[number]))
        run.wait_recovered(waiting[number], over_s)
        if evidence:
            run.met_work = run.says_more(evidence, said[number])
    return [run.met_work for run in runs]


def _allowed(doubles: Doubles, run: Run, verdict: Findings) -> bool:
    """Whether so many doubles are what is promised at this fault."""
    if doubles == "in flight":
        if run.windows:  # each record, as often as a fault met it between written and committed
            return verdict.unexplained == 0
        return verdict.doubled <= sum(run.in_flight)
    if doubles == "late request":
        return verdict.unexplained <= _REQUEST_ITEMS * len(run.in_flight)
    return doubles == "any"


def _row(scenario: Scenario, run: Run, verdict: Findings, *, hits: int, seconds: float) -> Row:
    damage = verdict.damage()
    at_least_once = run.delivery == "at_least_once"
    doubles = scenario.doubles if at_least_once else scenario.doubles_exactly_once
    if _allowed(doubles, run, verdict):
        damage.pop("doubled", None)
    debts: Sequence[Debt] = ()
    # Only where a lone broker was struck: nothing else runs there, so its logs do not change.
    if damage and not at_least_once and scenario.shakes_broker and run.place.brokers == 1:
        debts, batches = owed_markers(run.place.cluster)
        if are_owed(run.outcomes, debts, batches):
            damage.pop("doubled", None)
    problems = [
        f"{name}: {count}, for example {verdict.examples[name]}" for name, count in damage.items()
    ]
    if damage:
        problems += [*copies(run.outcomes), *warnings([each.log for each in run.services])]
        problems += [f"a marker is missing: {debt}" for debt in debts]
    strikes = len(run.in_flight)
    if scenario.fault is None:
        strikes = hits = sum(record.expected != "result" for record in run.driver.acked)
    if not hits:
        problems.append("no fault met work")
    if not scenario.shakes_broker and (lag := run.lag()):
        problems.append(f"lag {lag} at the end")
    return Row(
        fault=scenario.name,
        delivery=run.delivery,
        brokers=run.place.brokers,
        records=verdict.records,
        faults=strikes,
        hits=hits,
        lost=verdict.lost,
        doubled=verdict.doubled,
        out_of_order=verdict.out_of_order,
        stuck=verdict.stuck,
        in_flight=sum(run.in_flight),
        seconds_to_recover=_rounded(max(run.recoveries_s, default=None)),
        seconds_to_recover_median=_rounded(median(run.recoveries_s) if run.recoveries_s else None),
        seconds=round(seconds, 1),
        seed=run.seed,
        exit_codes=run.exit_codes(),
        owed_markers=len(debts),
        problems=[*problems, *run.problems],
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)


def _fast(*, shares: Mapping[str, float] | None = None, run_length: int = 1) -> Setup:
    """For loads that are the fault themselves: nothing is to be met at work, only to be done."""
    load = Load(rate_s=3000, shares=shares, run_length=run_length)
    return Setup(load=load, settings={"model": {"batch_s": 0.01}})


# Some of everything that needs no model to be refused, so that all topics are written.
_MIXED = Load(shares={"invalid": 0.02, "null": 0.01, "blank": 0.01, "oversize": 0.002})
_ORDINARY = Setup(load=_MIXED)
_EOS: tuple[Delivery, ...] = ("exactly_once",)
_ALO: tuple[Delivery, ...] = ("at_least_once",)

# A model that is slower than the load: each process holds as many records as it may.
_BUSY = Setup(load=_MIXED, settings={"model": {"batch_s": 0.4}})
# New partitions, and another topic of the same name, are noticed within this.
_LOOKS_OFTEN: dict[str, Any] = {"metadata_max_age_ms": 3000}
_GROWING = Setup(
    load=_MIXED, earlier=5, settings={"kafka": _LOOKS_OFTEN, "input": {"start_at": "latest"}}
)
_RECREATED = Setup(
    load=Load(),  # every outcome carries an id, which tells the two topics apart
    settings={
        "kafka": {**_LOOKS_OFTEN, "session_timeout_ms": 30_000},
        "input": {"out_of_range": "earliest"},
    },
)
# Texts of 200 kB, all of them for people: so each output is as large.
_THROTTLED = Setup(
    processes=1,
    load=Load(rate_s=60, outstanding=60, shares={"oversize": 1.0}),
    settings={
        "kafka": {"request_timeout_ms": 5000},
        "delivery": {"transaction_timeout_ms": 5000},
        "routing": {"threshold": 1.0},
    },
)
_MARKED = replace(_ORDINARY, processes=1)
_COMPACTED = Setup(
    load=Load(rate_s=100, keys=20), compacts=True, settings={"routing": {"threshold": 0.01}}
)

_FAKE = {"backend": "fake", "fail_on": POISON, "batch_s": 0.1}
_TWO_TASKS = Setup(
    load=_MIXED,
    settings={
        "tasks": {
            "moderation": {"model": _FAKE},
            "topic": {"model": {**_FAKE, "labels": ["x", "y"], "batch_s": 0.05}},
        }
    },
)
_TWO_STAGES = Setup(
    load=_MIXED,
    cascade=[
        {"name": "fast", "model": {**_FAKE, "batch_s": 0.05}, "routing": {"threshold": 0.7}},
        {"name": "slow", "model": _FAKE, "routing": {"threshold": 0.9}, "deadline_s": 2.0},
    ],
)

SCENARIOS: dict[str, Scenario] = {
    scenario.slug: scenario
    for scenario in (
        Scenario(
            "service killed",
            faults.killed,
            short=2,
            long=50,
            doubles="in flight",
            setup=_ORDINARY,
        ),
        Scenario(
            "two tasks, service killed",
            faults.killed,
            long=20,
            doubles="in flight",
            setup=_TWO_TASKS,
        ),
        Scenario(
            "two stages, service killed",
            faults.killed,
            long=20,
            doubles="in flight",
            setup=_TWO_STAGES,
        ),
        Scenario("SIGTERM under load", faults.terminated, short=2, long=20, setup=_ORDINARY),
        Scenario("zombie", faults.zombie, long=10, doubles="late request", setup=_BUSY),
        Scenario(
            "members come and go",
            faults.rebalanced,
            short=3,
            long=30,
            doubles="in flight",
            setup=_ORDINARY,
        ),
        Scenario("worker killed", faults.worker_killed, short=3, long=20, setup=_ORDINARY),
        Scenario(
            "worker hangs",
            faults.worker_hung,
            long=5,
            setup=_ORDINARY,
            evidence=("worker_lost",),
        ),
        Scenario("poison alone", setup=_fast(shares={"poison": 0.01})),
        Scenario(
            "poison in runs",
            setup=_fast(shares={"poison": 0.04}, run_length=20),
            records=(4000, 10_000),  # 1 in 500 begins a run: of 1500, one time in 20 none does
        ),
        Scenario("fuzzed values", values=bad_values, setup=_fast()),
        Scenario(
            "output denied",
            faults.output_denied,
            long=5,
            doubles="in flight",
            setup=Setup(load=_MIXED, way="sasl"),
        ),
        Scenario(
            "output too large",
            faults.output_limit_lowered,
            long=1,
            doubles="any",
            setup=Setup(load=Load(shares={"wide": 0.02})),
            evidence=("batch_refused", "partition_restarted"),
        ),
        Scenario(
            "coordinator fences",
            faults.coordinator_fences,
            short=3,
            long=10,
            setup=_ORDINARY,
            evidence=("partition_restarted",),
            deliveries=_EOS,
        ),
        Scenario(
            "transaction times out",
            faults.transaction_timed_out,
            short=5,
            long=10,
            setup=Setup(
                load=_MIXED,
                settings={
                    "kafka": {"session_timeout_ms": 20_000},
                    "delivery": {"transaction_timeout_ms": 1500},
                    "model": {"batch_s": 0.02},  # more transactions, of which one is to be met
                },
            ),
            evidence=("partition_restarted",),
            deliveries=_EOS,
        ),
        Scenario("new partitions", topic_faults.input_grows, short=2, long=10, setup=_GROWING),
        Scenario(
            "topic recreated",
            topic_faults.input_recreated,
            short=2,
            long=10,
            doubles="in flight",
            doubles_exactly_once="in flight",
            setup=_RECREATED,
        ),
        Scenario("markers deleted", topic_faults.markers_deleted, long=10, setup=_MARKED),
        Scenario("client throttled", topic_faults.throttled, long=5, setup=_THROTTLED),
        Scenario(
            "output compacted",
            topic_faults.compacted,
            long=10,
            doubles="in flight",
            setup=_COMPACTED,
        ),
        Scenario(
            "broker restarted",
            faults.broker_restarted,
            long=5,
            doubles="any",
            setup=_ORDINARY,
            shakes_broker=True,
        ),
        Scenario(
            "broker killed",
            faults.broker_killed,
            short=0,
            long=5,
            doubles="any",
            setup=_ORDINARY,
            shakes_broker=True,
        ),
        Scenario(
            "broker unreachable",
            faults.broker_unreachable(60),
            briefly=faults.broker_unreachable(8),
            long=4,
            doubles="any",
            setup=Setup(load=_MIXED, way="proxy"),
            shakes_broker=True,
        ),
        Scenario(
            "leader killed",
            faults.leader_killed,
            long=6,
            doubles="any",
            setup=_ORDINARY,
            brokers=3,
            shakes_broker=True,
        ),
    )
}


def _wrong(variant: str, setup: Setup = _ORDINARY) -> Setup:
    delivery = {"transaction_timeout_ms": 20_000, **setup.settings.get("delivery", {})}
    return replace(
        setup,
        command=(sys.executable, "-m", "testing.chaos.wrong", variant),
        patience_s=15.0,
        settings={**setup.settings, "delivery": delivery},
    )


# Negative controls: the same faults, a service that is wrong on purpose. They must fail.
CONTROLS: dict[str, Scenario] = {
    scenario.slug: scenario
    for scenario in (
        Scenario(
            "commit before send",
            faults.killed,
            short=3,
            long=5,
            doubles="in flight",
            setup=_wrong("commit-before-send"),
            deliveries=_ALO,
            shows="lost",
        ),
        Scenario(
            "one id per process",
            faults.zombie,
            short=4,
            long=5,
            setup=_wrong("one-id-per-process"),
            deliveries=_EOS,
            shows="doubled",
        ),
        Scenario(
            "never asks the group",
            faults.zombie,
            short=2,
            long=5,
            doubles="late request",
            setup=_wrong("never-asks-the-group", _BUSY),
            deliveries=_ALO,
            shows="doubled",
        ),
        Scenario(
            "late partitions at their end",
            topic_faults.input_grows,
            long=2,
            setup=_wrong("late-partitions-at-their-end", _GROWING),
            deliveries=_ALO,
            shows="lost",
        ),
        Scenario(
            "topics by name only",
            topic_faults.input_recreated,
            long=1,
            doubles="in flight",
            setup=_wrong("topics-by-name-only", _RECREATED),
            deliveries=_ALO,
            shows="lost",
        ),
        Scenario(
            "records alone are committed",
            topic_faults.markers_deleted,
            long=1,
            setup=_wrong("records-alone-are-committed", _MARKED),
            deliveries=_ALO,
            shows="lag",
        ),
        Scenario(
            "late answers are failures",
            topic_faults.throttled,
            long=1,
            setup=_wrong("late-answers-are-failures", _THROTTLED),
            deliveries=_ALO,
            shows="doubled",
        ),
        Scenario(
            "one key for all",
            topic_faults.compacted,
            long=1,
            doubles="in flight",
            setup=_wrong("one-key-for-all", _COMPACTED),
            deliveries=_ALO,
            shows="outdated",
        ),
    )
}
