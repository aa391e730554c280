"""Agreement, confusion and accepted error, compared with other implementations and the truth."""

from datetime import UTC, datetime

import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlabel.console.statistics.accepted_error import audit_curve
from streamlabel.console.statistics.agreement import MIN_ITEMS, agreement_by_label
from streamlabel.console.statistics.confusion import figures_of, reviewers_of
from streamlabel.console.store.items import Purpose, VerdictRow

LABELS = ("a", "b", "c")


def row(
    record: int,
    reviewer: str,
    labels: tuple[str, ...] | None,
    *,
    model: tuple[str, ...] | None = ("a",),
    purpose: Purpose = "review",
    gold: tuple[str, ...] | None = None,
    look: int = 1,
) -> VerdictRow:
    return VerdictRow(
        verdict_id=0,
        item_id=record,
        review_id=f"{record}",
        record_id=f"{record}",
        task=None,
        reviewer=reviewer,
        pseudonym="p",
        action="unsure" if labels is None else "correct",
        labels=labels,
        model_labels=model,
        confidence=None,
        probabilities=None,
        saw_model_answer=True,
        duration_ms=1000,
        decided_at=datetime(2026, 11, 29, tzinfo=UTC),
        look=look,
        purpose=purpose,
        review_probability=1.0,
        gold_labels=gold,
    )


# Rows: reviewers; columns: items; -1: did not decide it.
RATINGS = st.integers(2, 4).flatmap(
    lambda reviewers: st.lists(
        st.lists(st.integers(-1, 2), min_size=reviewers, max_size=reviewers),
        min_size=MIN_ITEMS,
        max_size=40,
    )
)


@settings(max_examples=40, deadline=None)
@given(RATINGS)
def test_alpha_is_that_of_the_reference_implementation(items: list[list[int]]) -> None:
    rows = [
        row(number, f"r{who}", (LABELS[value],))
        for number, given in enumerate(items)
        for who, value in enumerate(given)
        if value >= 0
    ]
    compared = [given for given in items if sum(value >= 0 for value in given) > 1]
    whole, *by_label = agreement_by_label(rows)
    assert whole.items == len(compared)
    table = np.array(compared, dtype=float).T
    if len(compared) < MIN_ITEMS or len(set(table[table >= 0])) < 2:
        assert whole.alpha is None
        return
    table[table < 0] = np.nan
    alpha = krippendorff.alpha(reliability_data=table, level_of_measurement="nominal")
    assert whole.alpha == pytest.approx(alpha)
    for found in by_label:
        one = np.where(np.isnan(table), np.nan, table == LABELS.index(found.label or ""))
        expected = krippendorff.alpha(reliability_data=one, level_of_measurement="nominal")
        assert found.alpha == pytest.approx(expected)


def test_the_interval_of_alpha_contains_the_true_one() -> None:
    """Of 100 samples of a known process; 95 % of the intervals, with room for chance."""
    random = np.random.default_rng(5)
    # two reviewers who each answer at random in a fifth of the cases: alpha is 0.8 squared
    hits = 0
    for _ in range(100):
        truth = random.integers(0, 2, 120)
        given = [
            np.where(random.random(120) < 0.2, random.integers(0, 2, 120), truth) for _ in "xy"
        ]
        rows = [row(i, f"r{who}", (LABELS[given[who][i]],)) for i in range(120) for who in range(2)]
        found = agreement_by_label(rows)[0]
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 0.64 <= found.high
    assert hits >= 88


def test_gold_items_say_nothing_about_agreement() -> None:
    rows = [row(i, who, ("a",), purpose="gold") for i in range(20) for who in "xy"]
    assert agreement_by_label(rows)[0].items == 0


def test_a_reviewer_is_compared_with_known_answers_and_with_others() -> None:
    rows = [
        row(1, "x", ("a",), gold=("a",), purpose="gold"),
        row(2, "x", ("b",), gold=("a",), purpose="gold"),
        row(3, "x", ("c",)),
        row(3, "y", ("b",), look=2),
        row(4, "x", None),
    ]
    own = figures_of("x", rows)
    assert (own.verdicts, own.unsure, own.gold, own.gold_right) == (4, 1, 2, 1)
    assert (own.compared, own.agreeing) == (1, 0)
    assert own.matrix == {("a", "a"): 1, ("a", "b"): 1, ("b", "c"): 1}
    assert own.labels == ["a", "b", "c"]
    assert reviewers_of(rows) == ["x", "y"]


def test_the_audit_counts_first_looks_with_a_decision() -> None:
    rows = [
        row(1, "x", ("a",), purpose="audit"),
        row(2, "x", ("b",), purpose="audit"),
        row(2, "y", ("b",), purpose="second_look", look=2),
        row(3, "x", None, purpose="audit"),
        row(4, "x", ("b",)),
    ]
    last = audit_curve(rows)[-1]
    assert (last.audited, last.wrong, last.rate) == (2, 1, 0.5)


def audit(wrong: list[bool]) -> list[VerdictRow]:
    return [
        row(i, "x", ("b",) if each else ("a",), purpose="audit") for i, each in enumerate(wrong)
    ]


def test_a_curve_has_few_points_and_the_last_verdict() -> None:
    points = audit_curve(audit([False] * 1001))
    assert len(points) <= 201
    assert points[-1].audited == 1001
    assert points[-1].bound < 0.01
    assert points[0].bound > points[-1].bound


def test_the_target_is_refuted_by_many_errors_and_not_by_few() -> None:
    assert audit_curve(audit([True] * 50 + [False] * 50), target=0.01)[-1].is_refuted
    assert not audit_curve(audit([False] * 99 + [True]), target=0.01)[-1].is_refuted
    assert not audit_curve(audit([True] * 50))[-1].is_refuted
