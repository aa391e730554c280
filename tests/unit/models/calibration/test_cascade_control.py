"""One guarantee for two or three stages: what it may look at, and how thresholds grow looser."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.models.calibration.cascade_choices import NO_ANSWER, StageChoices, route
from streamlabel.models.calibration.cascade_control import control_cascade, earlier_thresholds
from streamlabel.models.calibration.thresholds import NEVER


def drawn(
    seed: int, *, texts: int = 1500, stages: int = 2, rate: float | None = None
) -> list[StageChoices]:
    """Return stages that get better, with calibrated confidences; ``rate``: of errors, constant."""
    rng = np.random.default_rng(seed)
    hard = rng.beta(1.2, 3.5, texts)
    found = []
    for index in range(stages):
        risk = np.clip(hard * (0.5 - 0.15 * index) + rng.normal(0, 0.02, texts), 0.001, 0.9)
        is_wrong = rng.random(texts) < (risk if rate is None else rate)
        answer = rng.integers(0, 2, texts)
        is_open = rng.random(texts) < 0.97
        confidence = np.where(rng.random(texts) < 0.02, NO_ANSWER, 1 - risk)
        found.append(StageChoices(answer, confidence, is_open, is_wrong, float(10**index)))
    return found


def test_earlier_stages_accept_what_the_next_stage_is_too_dear_for() -> None:
    # a text may cost 2 * 0.05 of a review: the errors to expect must cost less
    found = earlier_thresholds([1, 20, 600], review_price=1000, target=0.05)
    assert found == pytest.approx((1 - 0.1 * 0.02, 1 - 0.05))


@given(seed=st.integers(0, 10_000), stages=st.integers(2, 3), first=st.floats(0.5, 1.1))
def test_while_the_last_threshold_falls_no_text_leaves_or_changes_its_stage(
    seed: int, stages: int, first: float
) -> None:
    choices = drawn(seed, texts=80, stages=stages)
    earlier = (first, 0.9)[: stages - 1]
    before = route(choices, (*earlier, NEVER))
    for limit in (0.99, 0.9, 0.8, 0.5, 0.1):
        now = route(choices, (*earlier, limit))
        kept = before.is_accepted
        assert now.is_accepted[kept].all()
        assert (now.stage[kept] == before.stage[kept]).all()
        assert (now.is_wrong[kept] == before.is_wrong[kept]).all()
        before = now


def test_the_chosen_point_is_what_routing_does_with_its_thresholds() -> None:
    stages = drawn(2, texts=3000)
    promise = control_cascade(stages, review_price=100, target=0.1)
    routed = route(stages, promise.chosen.thresholds)
    assert promise.is_kept
    assert promise.chosen.accepted == routed.is_accepted.sum()
    assert promise.chosen.errors == (routed.is_accepted & routed.is_wrong).sum()
    assert promise.chosen.errors / promise.chosen.accepted <= promise.chosen.bound <= 0.1
    assert promise.chosen in promise.curve
    assert promise.chosen.cost <= min(p.cost for p in promise.curve if p.bound <= 0.08)
    shares = (*promise.chosen.shares, promise.chosen.review_share)
    assert sum(shares) == pytest.approx(1)


def test_a_dear_second_stage_is_asked_less() -> None:
    cheap, dear = drawn(3, texts=4000), drawn(3, texts=4000)
    dear[1] = replace(dear[1], price=80.0)
    asked = []
    for stages in (cheap, dear):
        promise = control_cascade(stages, review_price=100, target=0.1)
        asked.append((route(stages, promise.chosen.thresholds).stage == 1).mean())
    assert asked[1] < asked[0]


@pytest.mark.parametrize("texts", [0, 1, 58, 200])
def test_too_few_or_too_wrong_texts_promise_nothing(texts: int) -> None:
    stages = drawn(4, texts=texts, rate=0.3) if texts else drawn(4, texts=1, rate=1.0)
    promise = control_cascade(stages, review_price=100, target=0.05)
    assert not promise.is_kept
    assert promise.chosen.thresholds == (NEVER, NEVER)


def test_a_first_stage_that_is_too_sure_of_itself_leaves_stricter_thresholds() -> None:
    texts = 4000
    said = np.linspace(0.9, 1.0, texts)
    is_wrong = (said < 0.97) & (np.arange(texts) % 2 == 0)
    everything = np.ones(texts, dtype=bool)
    first = StageChoices(np.zeros(texts, dtype=int), said, everything, is_wrong, 1.0)
    second = replace(first, confidence=np.full(texts, 0.5), is_wrong=everything, price=80.0)
    # the prices want the first stage to accept from 0.9 on, where 35 % are wrong
    assert earlier_thresholds([1, 80], review_price=100, target=0.1) == pytest.approx((0.9,))
    promise = control_cascade([first, second], review_price=100, target=0.1)
    assert promise.is_kept
    assert promise.chosen.errors / promise.chosen.accepted < 0.1
    assert promise.chosen.thresholds[0] > 0.95


def test_disagreement_of_an_earlier_stage_is_not_accepted() -> None:
    everything, nothing = np.ones(2, dtype=bool), np.zeros(2, dtype=bool)
    sure = np.full(2, 0.99)
    first = StageChoices(np.array([0, 1]), sure, nothing, everything, 1.0)
    second = StageChoices(np.array([1, 1]), sure, everything, nothing, 1.0)
    routed = route([first, second], (0.9, 0.9))
    assert routed.is_accepted.tolist() == [False, True]
    assert routed.stage.tolist() == [1, 1]
