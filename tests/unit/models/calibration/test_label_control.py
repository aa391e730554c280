"""Risk control for the answers about each label: what a promise is, and how often it breaks."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlabel.models.calibration.label_control import (
    control_labels,
    path_places,
    report_labels,
)
from streamlabel.models.calibration.thresholds import (
    NEVER,
    AnswerLimits,
    Choices,
    Promise,
)

NAMES = ("rude", "threat", "spam")
# Shares of texts with the label, and how well the model knows it.
PRIORS, SHARPNESS = np.array([-6.0, -14.0, 1.0]), np.array([6.0, 10.0, 14.0])


def choices_of(probabilities: np.ndarray, truth: np.ndarray) -> Choices:
    decided = probabilities >= 0.5
    texts = len(truth)
    return Choices(
        label=np.zeros(texts, dtype=np.int64),
        confidence=np.maximum(probabilities, 1 - probabilities).min(axis=1),
        is_wrong=(decided != truth).any(axis=1),
        is_open=np.ones(texts, dtype=bool),
        names=NAMES[: truth.shape[1]],
        judged_whole=True,
        decided=decided,
        truth=truth,
        probabilities=probabilities,
    )


def drawn(rng: np.random.Generator, texts: int, *, overconfidence: float = 1.0) -> Choices:
    """Texts of which labels depend on each other, one is rare, and one in 200 is a mistake."""
    shared = 0.5 * rng.normal(size=(texts, 1))
    logits = PRIORS + SHARPNESS * (shared + rng.normal(size=(texts, len(NAMES))))
    truth = rng.random(logits.shape) < 1 / (1 + np.exp(-logits))
    truth ^= rng.random(logits.shape) < 0.005
    return choices_of(1 / (1 + np.exp(-overconfidence * logits)), truth)


def wrong_of_accepted(promise: Promise, choices: Choices) -> np.ndarray:
    assert choices.probabilities is not None
    assert choices.truth is not None
    limits = AnswerLimits(promise.thresholds, promise.absent)
    accepted = limits.sure(choices.probabilities).all(axis=1)
    wrong = (choices.probabilities >= 0.5) != choices.truth
    return np.asarray(wrong[accepted].mean(axis=0) if accepted.any() else np.zeros(3))


@pytest.mark.parametrize(
    ("target", "texts", "overconfidence"),
    [(0.03, 900, 1.0), (0.03, 900, 2.0), (0.02, 1800, 1.0)],
)
def test_the_promise_of_any_label_breaks_in_at_most_one_of_twenty_calibrations(
    target: float, texts: int, overconfidence: float
) -> None:
    rng = np.random.default_rng(texts)
    traffic = drawn(rng, 60_000, overconfidence=overconfidence)
    trials, broken, made = 150, 0, 0
    for _ in range(trials):
        sample = drawn(rng, texts, overconfidence=overconfidence)
        promise = control_labels(sample, target=target, confidence=0.95)
        if promise is not None:
            made += 1
            broken += bool((wrong_of_accepted(promise, traffic) > target).any())
    assert made > 0.5 * trials  # else nothing was tried
    allowed = 0.05 * trials + 2 * (0.05 * 0.95 * trials) ** 0.5
    assert broken <= allowed


def test_taking_what_looks_right_on_the_same_texts_breaks_far_more_often() -> None:
    """The simulation can tell: thresholds that just meet the target on their own texts do not."""
    rng = np.random.default_rng(0)
    traffic = drawn(rng, 60_000)
    broken = 0
    for _ in range(40):
        sample = drawn(rng, 900)
        assert sample.probabilities is not None
        assert sample.truth is not None
        places = path_places(sample, range(3))
        order = np.argsort(-places)
        wrong = ((sample.probabilities >= 0.5) != sample.truth)[order]
        rates = np.cumsum(wrong, axis=0) / np.arange(1, len(order) + 1)[:, None]
        last = np.flatnonzero((rates <= 0.03).all(axis=1))[-1]
        kept = order[: last + 1]
        yes = sample.probabilities >= 0.5
        present, absent = [], []
        for label in range(3):
            shown = sample.probabilities[:, label]
            present.append(min(shown[kept][yes[kept, label]], default=NEVER))
            absent.append(min(1 - shown[kept][~yes[kept, label]], default=NEVER))
        naive = report_labels(sample, AnswerLimits(tuple(present), tuple(absent)), 0.95)
        broken += bool((wrong_of_accepted(naive, traffic) > 0.03).any())
    assert broken > 10


@given(st.integers(0, 2**32 - 1), st.integers(300, 700), st.sampled_from([0.05, 0.1, 0.2]))
@settings(max_examples=25, deadline=None)
def test_what_is_said_of_thresholds_is_what_they_do(seed: int, texts: int, target: float) -> None:
    sample = drawn(np.random.default_rng(seed), texts)
    closed = np.random.default_rng(seed).random(texts) < 0.1
    sample = replace(sample, is_open=~closed)
    promise = control_labels(sample, target=target, confidence=0.9)
    if promise is None:
        return
    assert sample.probabilities is not None
    assert sample.truth is not None
    sure = AnswerLimits(promise.thresholds, promise.absent).sure(sample.probabilities)
    accepted = sure.all(axis=1) & ~closed
    assert promise.accepted == int(accepted.sum())
    wrong = ((sample.probabilities >= 0.5) != sample.truth)[accepted].sum(axis=0)
    assert [each.wrong for each in promise.by_label] == wrong.tolist()
    assert [each.label for each in promise.by_label] == list(NAMES)
    # each further step accepts a part of what the one before accepts
    before = accepted
    for step in promise.steps:
        now = step.sure(sample.probabilities).all(axis=1) & ~closed
        assert not (now & ~before).any()
        assert now.sum() <= 0.8 * before.sum()
        before = now


def test_a_label_that_cannot_be_told_holds_nothing_up_if_it_is_left_out() -> None:
    sample = drawn(np.random.default_rng(1), 900)
    assert sample.truth is not None
    assert sample.probabilities is not None
    noise = np.random.default_rng(2).random(900) < 0.3
    truth = sample.truth.copy()
    truth[:, 0] ^= noise
    hard = choices_of(sample.probabilities, truth)
    assert control_labels(hard, target=0.03, confidence=0.95) is None
    promise = control_labels(hard, target=0.03, confidence=0.95, promised=[1, 2])
    assert promise is not None
    assert [each.label for each in promise.by_label] == ["threat", "spam"]
    assert max(promise.thresholds[0], promise.absent[0]) < 0.5  # every answer is taken


def test_an_answer_that_was_never_given_is_never_sure() -> None:
    rng = np.random.default_rng(3)
    probabilities = rng.beta(0.2, 20.0, size=(400, 1))
    sample = choices_of(probabilities, np.zeros((400, 1), dtype=bool))
    promise = control_labels(sample, target=0.05, confidence=0.95)
    assert promise is not None
    assert promise.thresholds == (NEVER,)
    assert promise.absent[0] < 1


def test_both_answers_are_about_as_often_wrong() -> None:
    """One rate for both would let most texts with a rare label be called so wrongly."""
    rng = np.random.default_rng(4)
    sample = drawn(rng, 4000)
    traffic = drawn(rng, 60_000)
    promise = control_labels(sample, target=0.02, confidence=0.95)
    assert promise is not None
    assert traffic.probabilities is not None
    assert traffic.truth is not None
    limits = AnswerLimits(promise.thresholds, promise.absent)
    accepted = limits.sure(traffic.probabilities).all(axis=1)
    said = traffic.probabilities[accepted] >= 0.5
    wrong_yes = (said & ~traffic.truth[accepted]).sum(axis=0) / said.sum(axis=0)
    assert wrong_yes.max() < 0.1


@pytest.mark.parametrize("promised", [[0, 1, 2], [0, 2]])
def test_a_floor_is_never_passed_below(promised: list[int]) -> None:
    """Also not that of a label without a target."""
    sample = drawn(np.random.default_rng(5), 900)
    floors = [0.0, 0.97, 0.0]
    promise = control_labels(sample, target=0.05, confidence=0.95, promised=promised, floors=floors)
    assert promise is not None
    assert promise.absent[1] >= 0.97
    assert all(step.absent[1] >= 0.97 for step in promise.steps)
    assert promise.accepted > 300
    limits = AnswerLimits(promise.thresholds, promise.absent)
    assert sample.probabilities is not None
    assert limits.sure(sample.probabilities).all(axis=1).sum() == promise.accepted


def test_too_few_texts_promise_nothing() -> None:
    sample = drawn(np.random.default_rng(6), 80)
    assert control_labels(sample, target=0.03, confidence=0.95) is None
