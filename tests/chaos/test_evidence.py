"""A chaos row that fails says where copies stand and what was warned of."""

import json
from pathlib import Path

from testing.chaos.evidence import are_owed, copies, warnings
from testing.chaos.owed_markers import Batch, Debt
from testing.chaos.verifier import At, Outcome


def test_copies_are_named_by_their_places_and_tasks_do_not_count_as_copies() -> None:
    outcomes = [
        Outcome(At(2, 136), "labels", 1, 40),
        Outcome(At(2, 137), "labels", 1, 41),
        Outcome(At(2, 136), "labels", 1, 90),
        Outcome(At(0, 5), "labels", 0, 7, task="a"),
        Outcome(At(0, 5), "labels", 0, 8, task="b"),
    ]
    assert copies(outcomes) == ["2@136 at labels-1@40, labels-1@90"]
    assert len(copies([Outcome(At(0, n), "t", 0, n) for n in range(50)] * 2)) == 20


def test_copies_are_the_brokers_only_if_all_stand_where_a_marker_is_missing() -> None:
    debts = [Debt("labels-1", 4, "COMMIT", 2, 1), Debt("__consumer_offsets-0", 4, "COMMIT", 2, 1)]
    labels = [Outcome(At(1, 7), "labels", 1, offset) for offset in (3, 9)]
    review = [Outcome(At(1, 8), "review", 1, offset) for offset in (3, 9)]
    assert are_owed([*labels, Outcome(At(1, 8), "review", 1, 3)], debts, [])
    assert not are_owed([*labels, *review], debts, [])
    assert not are_owed(labels, [], [])
    assert not are_owed(labels[:1], debts, []), "without copies nothing is explained"


def test_copies_of_a_producer_whose_offsets_lack_their_marker_are_the_brokers() -> None:
    """Its outputs were committed, and its offsets were not: the records were read again."""
    debts = [Debt("__consumer_offsets-1", 2, "COMMIT", 38, 37), Debt("other-0", 5, "ABORT", 1, 0)]
    copies = [Outcome(At(2, 162), "labels", 2, offset) for offset in (124, 130)]
    first, second = Batch("labels-2", 120, 128, 2), Batch("labels-2", 130, 134, 6)
    assert are_owed(copies, debts, [first, second])
    assert not are_owed(copies, debts, [second])
    assert not are_owed(copies, debts, [first._replace(producer=5), second])
    assert not are_owed(copies, debts, [first._replace(partition="labels-1"), second])
    aborted = [debts[0]._replace(end="ABORT")]
    assert not are_owed(copies, aborted, [first, second])
    more = [*copies, *(Outcome(At(3, 1), "labels", 3, offset) for offset in (1, 2))]
    assert not are_owed(more, debts, [first, second]), "one that is not explained"


def test_warnings_are_taken_from_the_logs_and_other_lines_left_out(tmp_path: Path) -> None:
    log = tmp_path / "service0.log"
    lines = [
        json.dumps({"level": "info", "event": "fine"}),
        json.dumps({"level": "warning", "event": "partition_restarted", "ts": "12:00"}),
        "Traceback: not JSON",
        "7",
        json.dumps({"level": "error", "event": "broker_gone", "error": "NodeNotReadyError"})[:-4],
    ]
    log.write_text("\n".join(lines))
    assert warnings([log]) == ["service0: 12:00 partition_restarted"]
