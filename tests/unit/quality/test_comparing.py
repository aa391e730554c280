"""Agreement of two models, and the test of their difference."""

from math import comb

import pytest
import scipy.stats  # noqa: F401 takes seconds, which a time limit of an example does not allow
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.models.calibration.binomial_bounds import mcnemar_p
from streamlabel.quality.comparing import Answer, Comparison, Discordance, holm

answers = st.frozensets(st.sampled_from("abc"), max_size=2)
records = st.lists(st.tuples(answers, answers, st.one_of(st.none(), answers)), max_size=60)


def compared(rows: list[tuple[Answer, Answer, Answer | None]]) -> Comparison:
    found = Comparison()
    for row in rows:
        found.count(*row)
    return found


@given(first=st.integers(0, 60), second=st.integers(0, 60))
def test_the_p_value_is_that_of_fair_coins(first: int, second: int) -> None:
    """Summed up over all splits that are as uneven or more so, without a library."""
    n, least = first + second, min(first, second)
    tail = sum(comb(n, k) for k in range(least + 1)) / 2**n
    expected = 1.0 if first == second else min(1.0, 2 * tail)
    assert mcnemar_p(first, second) == pytest.approx(expected)
    assert mcnemar_p(first, second) == mcnemar_p(second, first)


def test_a_published_example() -> None:
    """Agresti 1990, approval of a prime minister: 150 against 86 of 1600; p below 0.0001."""
    assert mcnemar_p(150, 86) == pytest.approx(3.716e-05, rel=0.001)


@given(records)
def test_every_record_is_counted_once_on_each_side(
    rows: list[tuple[Answer, Answer, Answer | None]],
) -> None:
    found = compared(rows)
    assert found.records == len(rows) == found.agreed + found.pairs.total()
    for label in "abc":
        first = sum(label in row[0] for row in rows)
        second = sum(label in row[1] for row in rows)
        assert (found.said[0][label], found.said[1][label]) == (first, second)
        discordance = found.of_label(label)
        assert first - second == discordance.first - discordance.second
    judged = [row for row in rows if row[2] is not None]
    assert found.judged == len(judged)
    assert found.right == [sum(row[side] == row[2] for row in judged) for side in (0, 1)]
    assert found.of_truth.first - found.of_truth.second == found.right[0] - found.right[1]


@given(records)
def test_swapped_sides_swap_the_counts(
    rows: list[tuple[Answer, Answer, Answer | None]],
) -> None:
    there, back = compared(rows), compared([(second, first, t) for first, second, t in rows])
    assert there.agreed == back.agreed
    assert there.pairs == {(b, a): count for (a, b), count in back.pairs.items()}
    assert there.of_truth == Discordance(back.of_truth.second, back.of_truth.first)
    assert there.labels == back.labels


def test_holms_correction_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
