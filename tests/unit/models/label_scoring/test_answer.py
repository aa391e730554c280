"""The maths of one-token answers holds for any logits."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.errors import InferenceError
from streamlabel.models.label_scoring.answer import FirstToken, from_label_scores, read


def log_softmax(logits: list[float]) -> list[float]:
    top = max(logits)
    total = top + math.log(math.fsum(math.exp(x - top) for x in logits))
    return [x - total for x in logits]


def first_token(logits: list[float]) -> FirstToken:
    values = log_softmax(logits)
    top = max(range(len(values)), key=values.__getitem__)
    return FirstToken(dict(enumerate(values)), top, values[top])


LOGITS = st.lists(st.floats(-200, 200), min_size=8, max_size=40)


@given(LOGITS)
def test_probabilities_sum_to_one_and_mass_stays_within_one(logits: list[float]) -> None:
    answer = read(first_token(logits), [(0, 1), (2,), (3, 4, 5)])
    assert math.fsum(answer.probabilities) == pytest.approx(1, abs=1e-6)
    assert 0 <= answer.label_mass <= 1
    assert answer.off_label_mass == pytest.approx(1 - answer.label_mass)
    assert 0 <= answer.first_token_probability <= 1


@given(LOGITS)
def test_forms_of_a_label_are_summed(logits: list[float]) -> None:
    first = first_token(logits)
    answer = read(first, [(0, 1), (2,)])
    both = math.exp(first.log_probabilities[0]) + math.exp(first.log_probabilities[1])
    assert math.exp(answer.log_scores[0]) == pytest.approx(both, rel=1e-9, abs=1e-300)


@given(LOGITS)
def test_a_single_form_argmax_is_its_share_of_the_mass(logits: list[float]) -> None:
    first = first_token(logits)
    answer = read(first, [(token,) for token in range(4)])
    assert answer.argmax_is_label is (first.top_id < 4)
    if answer.argmax_is_label:
        share = max(answer.probabilities) * answer.label_mass
        assert answer.first_token_probability == pytest.approx(share, rel=1e-9)


@given(LOGITS)
def test_log_scores_and_probabilities_say_the_same(logits: list[float]) -> None:
    answer = read(first_token(logits), [(0,), (1,), (2,)])
    again = [math.exp(x) for x in log_softmax(list(answer.log_scores))]
    assert answer.probabilities == pytest.approx(again, abs=1e-12)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_label_without_a_finite_number_is_an_error(value: float) -> None:
    with pytest.raises(InferenceError, match="for token 1"):
        read(FirstToken({0: -1.0, 1: value}, 0, -1.0), [(0,), (1,)])


def test_a_missing_label_is_never_guessed() -> None:
    with pytest.raises(InferenceError, match="for token 7"):
        read(FirstToken({0: -1.0}, 0, -1.0), [(0,), (7,)])


def test_numbers_that_are_no_log_probabilities_are_refused() -> None:
    with pytest.raises(InferenceError, match="above 1"):
        from_label_scores([0.2, -1.0], argmax_is_label=True, top_log_probability=0.2)


def test_extreme_scores_do_not_overflow() -> None:
    answer = from_label_scores([-900.0, -1.0], argmax_is_label=True, top_log_probability=-1.0)
    assert answer.probabilities == (0.0, 1.0)
