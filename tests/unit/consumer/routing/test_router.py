"""Routing: thresholds at their limits, every reason named, multi-label decided label by label."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.config.settings import RoutingSettings
from streamlabel.consumer.routing.router import RoutingPolicy, routing_policy
from streamlabel.errors import ConfigError
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.core.classifier import Prediction
from streamlabel.models.core.labels import LabelSet

LABELS = LabelSet(("ham", "spam", "scam"))
TAGS = LabelSet(("toxic", "threat"), "multi_label")


def policy(labels: LabelSet = LABELS, **settings: object) -> RoutingPolicy:
    return routing_policy(labels, RoutingSettings.model_validate(settings))


def test_a_confidence_at_the_threshold_is_enough() -> None:
    for confidence, route in ((0.79, "review"), (0.8, "label"), (0.81, "label")):
        rest = (1 - confidence) / 2
        decision = policy(threshold=0.8).choose(Prediction((rest, confidence, rest)))
        assert decision.route == route
        assert decision.label == "spam"
        assert decision.confidence == confidence


def test_a_label_may_have_its_own_threshold() -> None:
    r = policy(threshold=0.9, thresholds={"ham": 0.4})
    assert r.choose(Prediction((0.5, 0.3, 0.2))).route == "label"
    decision = r.choose(Prediction((0.3, 0.5, 0.2)))
    assert (decision.route, decision.threshold) == ("review", 0.9)


def test_a_threshold_for_an_unknown_label_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"routing.thresholds: egg: unknown label.*ham, spam"):
        policy(thresholds={"egg": 0.5})


def test_margin_is_the_distance_to_the_second() -> None:
    decision = policy(threshold=0.1, margin=0.2).choose(Prediction((0.5, 0.375, 0.125)))
    assert decision.margin == 0.125
    assert decision.reasons == ("low_margin",)
    assert policy(threshold=0.1, margin=0.125).choose(Prediction((0.5, 0.375, 0.125))).reasons == ()


def test_ties_go_to_the_first_label() -> None:
    decision = policy(threshold=0.1).choose(Prediction((0.4, 0.4, 0.2)))
    assert (decision.label, decision.margin) == ("ham", 0.0)


def test_copy_sends_doubts_to_both() -> None:
    assert policy(threshold=0.9, review="copy").choose(Prediction((0.5, 0.3, 0.2))).route == "copy"
    assert policy(threshold=0.4, review="copy").choose(Prediction((0.5, 0.3, 0.2))).route == "label"


def test_all_reasons_are_given_in_a_fixed_order() -> None:
    prediction = Prediction(
        (0.4, 0.35, 0.25), truncated=True, off_label_mass=0.6, argmax_is_label=False
    )
    decision = policy(threshold=0.5, margin=0.1, review_truncated=True).choose(prediction)
    assert decision.reasons == ("off_label", "truncated", "low_confidence", "low_margin")


def test_a_confident_answer_outside_the_labels_goes_to_review() -> None:
    r = policy(threshold=0.5, max_off_label_mass=0.5)
    sure = (0.9, 0.05, 0.05)
    assert r.choose(Prediction(sure, off_label_mass=0.5)).route == "label"
    assert r.choose(Prediction(sure, off_label_mass=0.51)).reasons == ("off_label",)
    assert r.choose(Prediction(sure, argmax_is_label=False)).reasons == ("off_label",)


SURE = Prediction((0.9, 0.05, 0.05), unknown_share=1.0, is_unreadable=True)


def test_a_text_of_which_nothing_was_seen_goes_to_review_however_sure_the_answer_is() -> None:
    assert policy(threshold=0.5).choose(SURE).reasons == ("unreadable",)
    assert policy(threshold=0.5).choose(replace(SURE, unknown_share=None)).route == "review"
    unanswered = replace(SURE, probabilities=None, review_reasons=("unparseable",))
    assert policy(threshold=0.5).choose(unanswered).reasons == ("unparseable", "unreadable")
    assert policy(threshold=0.5, review_unreadable=False).choose(SURE).route == "label"


@pytest.mark.parametrize(("share", "route"), [(None, "label"), (0.25, "label"), (0.26, "review")])
def test_a_larger_share_of_unknown_tokens_than_allowed_goes_to_review(
    share: float | None, route: str
) -> None:
    partly = Prediction((0.9, 0.05, 0.05), unknown_share=share)
    assert policy(threshold=0.5).choose(partly).route == "label"
    decision = policy(threshold=0.5, max_unknown_share=0.25).choose(partly)
    assert decision.route == route
    assert decision.reasons == (("unreadable",) if route == "review" else ())


def test_no_usable_answer_goes_to_review_without_a_label() -> None:
    decision = policy().choose(Prediction(None, review_reasons=("unparseable",)))
    assert (decision.route, decision.label, decision.confidence) == ("review", None, None)
    assert decision.reasons == ("unparseable",)


def test_a_truncated_text_is_flagged_not_reviewed_unless_asked() -> None:
    assert policy().choose(Prediction((0.9, 0.05, 0.05), truncated=True)).route == "label"


def test_multi_label_decides_every_label() -> None:
    decision = policy(TAGS, threshold=0.7).choose(Prediction((0.9, 0.2)))
    assert (decision.labels, decision.label, decision.route) == (("toxic",), "toxic", "label")
    assert decision.confidence == 0.8
    assert decision.margin is None


@given(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=2))
def test_a_text_without_any_label_is_given_none(probabilities: list[float]) -> None:
    decision = policy(TAGS, threshold=0.7).choose(Prediction(tuple(probabilities)))
    assert (decision.label is None) == (not decision.labels) == (max(probabilities) < 0.5)
    assert decision.confidence is not None  # unlike a text without an answer
    if decision.label is not None:
        assert decision.label in decision.labels
        assert probabilities[TAGS.names.index(decision.label)] == max(probabilities)


def test_multi_label_is_as_sure_as_its_least_certain_label() -> None:
    decision = policy(TAGS, thresholds={"threat": 0.95, "toxic": 0.6}).choose(
        Prediction((0.65, 0.1))
    )
    assert (decision.route, decision.confidence, decision.threshold) == ("review", 0.9, 0.95)


@given(
    raw=st.lists(st.floats(0.001, 1.0), min_size=3, max_size=3),
    threshold=st.floats(0.01, 1.0),
    margin=st.floats(0.0, 0.99),
)
def test_a_label_is_published_alone_only_if_every_condition_holds(
    raw: list[float], threshold: float, margin: float
) -> None:
    probabilities = tuple(value / sum(raw) for value in raw)
    decision = policy(threshold=threshold, margin=margin).choose(Prediction(probabilities))
    first, second = sorted(probabilities, reverse=True)[:2]
    assert decision.confidence == first
    assert (decision.route == "label") == (first >= threshold and first - second >= margin)
    assert (decision.route == "label") == (not decision.reasons)


def answers(
    present: tuple[float | None, float | None] = (0.8, 0.9), **settings: object
) -> RoutingPolicy:
    """A calibration with two thresholds a label."""
    tree = {
        "model": {
            "name": "m",
            "backend": "fake",
            "digest": "d",
            "device": "cpu",
            "dtype": "none",
            "labels": list(TAGS.names),
            "problem_type": "multi_label",
        },
        "mapping": {"method": "identity"},
        "thresholds": {
            "chosen_by": "promise",
            "by_label": dict(zip(TAGS.names, present, strict=True)),
            "bound": 0.02,
            "confidence": 0.95,
            "summary": "s",
        },
        "answers": {"absent": {"toxic": 0.7, "threat": 0.98}},
        "evidence": {
            "made_on": "2026-11-30",
            "items": 3,
            "by_label": {},
            "log_loss_before": 0.3,
            "log_loss_after": 0.3,
        },
    }
    file = CalibrationFile.model_validate(tree).with_id()
    return routing_policy(TAGS, RoutingSettings.model_validate(settings), calibration=file)


@pytest.mark.parametrize(
    ("probabilities", "unsure"),
    [
        ((0.8, 0.9), ()),
        ((0.79, 0.9), ("toxic",)),
        ((0.8, 0.89), ("threat",)),
        ((0.3, 0.02), ()),
        ((0.31, 0.02), ("toxic",)),
        ((0.3, 0.03), ("threat",)),
        ((0.5, 0.5), ("toxic", "threat")),
    ],
)
def test_each_answer_has_its_own_threshold_and_unsure_labels_are_named(
    probabilities: tuple[float, float], unsure: tuple[str, ...]
) -> None:
    decision = answers().choose(Prediction(probabilities))
    assert decision.unsure_labels == unsure
    assert decision.route == ("review" if unsure else "label")
    assert decision.reasons == (("low_confidence",) if unsure else ())


def test_the_threshold_shown_is_that_of_the_least_certain_answer() -> None:
    decision = answers().choose(Prediction((0.75, 0.1)))
    assert (decision.confidence, decision.threshold) == (0.9, 0.98)
    assert answers().choose(Prediction((0.7, 0.01))).threshold == 0.8


def test_an_answer_that_is_never_sure_goes_to_review_and_its_opposite_does_not() -> None:
    r = answers(present=(0.8, None))
    assert r.choose(Prediction((0.9, 0.999))).unsure_labels == ("threat",)
    assert r.choose(Prediction((0.9, 0.999))).threshold == 1.0
    assert r.choose(Prediction((0.9, 0.001))).route == "label"


def test_a_threshold_of_the_settings_raises_both_answers_and_never_lowers_one() -> None:
    raised = answers(threshold=0.85)
    assert (raised.thresholds, raised.absent) == ((0.85, 0.9), (0.85, 0.98))
    assert (raised.change, raised.raised) == ("tightened", ("toxic",))
    assert raised.threshold_set_id not in {None, answers().threshold_set_id}
    lowered = answers(thresholds={"threat": 0.95})
    assert (lowered.thresholds, lowered.absent) == ((0.8, 0.95), (0.7, 0.95))
    assert (lowered.change, lowered.loosened) == ("loosened", ("threat",))
    tighter = answers().tightened(0.5)
    assert list(tighter.thresholds) == pytest.approx([0.9, 0.95])
    assert list(tighter.absent) == pytest.approx([0.85, 0.99])
    assert tighter.threshold_set_id != answers().threshold_set_id


@given(st.tuples(st.floats(0, 1), st.floats(0, 1)), st.floats(0.01, 1))
def test_the_lever_only_sends_more_to_review(pair: tuple[float, float], threshold: float) -> None:
    with_lever = answers(threshold=threshold).choose(Prediction(pair))
    without = answers().choose(Prediction(pair))
    assert set(without.unsure_labels) <= set(with_lever.unsure_labels)


def test_without_a_calibration_unsure_labels_are_named_too() -> None:
    decision = policy(TAGS, threshold=0.9).choose(Prediction((0.95, 0.2)))
    assert (decision.route, decision.unsure_labels) == ("review", ("threat",))
    assert policy(threshold=0.9).choose(Prediction((0.5, 0.3, 0.2))).unsure_labels == ()
