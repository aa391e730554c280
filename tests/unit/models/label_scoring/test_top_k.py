"""A label that is missing among the candidates is bounded, never taken for impossible."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.models.label_scoring.top_k import bound_answer


def logs(**probabilities: float) -> dict[str, float]:
    return {token: math.log(p) for token, p in probabilities.items()}


def test_nothing_missing_is_exact() -> None:
    found = bound_answer(logs(yes=0.6, no=0.3, maybe=0.05), [["no"], ["yes"]], top="yes")
    assert found is not None
    assert found.unknown == 0
    assert found.answer.probabilities == pytest.approx((1 / 3, 2 / 3))
    assert found.answer.off_label_mass == pytest.approx(0.1)


def test_a_missing_label_is_at_most_the_last_candidate() -> None:
    found = bound_answer(logs(yes=0.9, oh=0.04, ah=0.01), [["no"], ["yes"]], top="yes")
    assert found is not None
    assert found.answer.probabilities == pytest.approx((0.01 / 0.91, 0.9 / 0.91))
    assert found.unknown == pytest.approx(0.01 / 0.91)
    assert found.answer.off_label_mass == pytest.approx(0.1)
    assert found.answer.argmax_is_label


def test_a_missing_label_is_at_most_all_that_is_left() -> None:
    found = bound_answer(logs(yes=0.95, oh=0.049), [["no"], ["yes"]], top="yes")
    assert found is not None
    assert found.answer.probabilities[0] == pytest.approx(0.001 / 0.951)


def test_no_label_among_the_candidates_is_no_answer() -> None:
    assert bound_answer(logs(oh=0.5, ah=0.4), [["no"], ["yes"]], top="oh") is None


def test_an_argmax_outside_the_labels_is_seen() -> None:
    found = bound_answer(logs(oh=0.5, yes=0.4, no=0.05), [["no"], ["yes"]], top="oh")
    assert found is not None
    assert not found.answer.argmax_is_label
    assert found.answer.off_label_mass == pytest.approx(0.55)


@given(
    st.lists(st.floats(0.001, 10), min_size=6, max_size=12),
    st.integers(2, 5),
    st.permutations(range(6)),
)
def test_the_truth_is_never_outside_the_bounds(
    weights: list[float], k: int, order: list[int]
) -> None:
    """Six tokens are labels (two forms each), the others are not; only the top k are shown."""
    total = sum(weights)
    truth = {token: weight / total for token, weight in enumerate(weights)}
    top = sorted(truth, key=lambda token: -truth[token])[:k]
    forms = [order[:2], order[2:4], order[4:]]
    found = bound_answer({t: math.log(truth[t]) for t in top}, forms, top=top[0])
    if found is None:
        assert not {token for tokens in forms for token in tokens} & set(top)
        return
    masses = [sum(truth[token] for token in tokens) for tokens in forms]
    known = [sum(truth[t] for t in tokens if t in top) for tokens in forms]
    chosen = known.index(max(known))
    exact = masses[chosen] / sum(masses)
    least = found.answer.probabilities[chosen]
    assert least - 1e-6 <= exact <= least + found.unknown + 1e-6
    assert found.answer.off_label_mass >= 1 - sum(masses) - 1e-6
    assert sum(found.answer.probabilities) == pytest.approx(1)


@given(
    st.lists(st.floats(0.001, 10), min_size=4, max_size=10),
    st.lists(st.floats(0, 1), min_size=2, max_size=2),
    st.integers(1, 5),
)
def test_an_answer_of_several_tokens_stays_within_the_bounds(
    weights: list[float], rest: list[float], k: int
) -> None:
    """Tokens 0 and 1 are answers; 2 and 3 begin longer ones, and may be followed by other words."""
    total = sum(weights)
    truth = {token: weight / total for token, weight in enumerate(weights)}
    top = sorted(truth, key=lambda token: -truth[token])[:k]
    shown = {token: math.log(truth[token]) for token in top}
    begun = [[shown[token]] if token in shown else [] for token in (2, 3)]
    forms = [[0, -1], [1, -2]]  # the longer answers have no token of their own
    found = bound_answer(shown, forms, top=top[0], begun=begun)
    if found is None:
        return
    masses = [truth[label] + truth[label + 2] * rest[label] for label in (0, 1)]
    chosen = 0 if shown.get(0, -math.inf) >= shown.get(1, -math.inf) else 1
    exact = masses[chosen] / sum(masses)
    least = found.answer.probabilities[chosen]
    assert least - 1e-6 <= exact <= least + found.unknown + 1e-6
