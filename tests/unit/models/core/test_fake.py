"""Promises of the model that is none."""

import asyncio

import pytest

from streamlabel.config.model import FakeSettings
from streamlabel.errors import DeviceMemoryError, InferenceError
from streamlabel.models.core.classifier import Prediction, PreparedText
from streamlabel.models.core.fake import FakeClassifier

_TEXTS = [f"our own sample, number {number}" for number in range(2000)]


async def _classify(classifier: FakeClassifier, *texts: str) -> list[Prediction | InferenceError]:
    return await classifier.classify(_prepared(await classifier.prepare(texts)))


def _prepared(outcomes: list[PreparedText | InferenceError]) -> list[PreparedText]:
    return [outcome for outcome in outcomes if isinstance(outcome, PreparedText)]


async def test_the_answer_is_the_same_in_every_process_and_run() -> None:
    (prediction,) = await _classify(FakeClassifier(FakeSettings()), "hello")
    assert isinstance(prediction, Prediction)
    assert prediction.probabilities == pytest.approx((0.2071, 0.2071, 0.5858), abs=1e-4)


@pytest.mark.parametrize("labels", [3, 10])
async def test_some_answers_are_sure_and_some_are_not(labels: int) -> None:
    classifier = FakeClassifier(FakeSettings(labels=[str(label) for label in range(labels)]))
    confidences = []
    chosen = set()
    for prediction in await _classify(classifier, *_TEXTS):
        assert isinstance(prediction, Prediction)
        assert prediction.probabilities is not None
        assert sum(prediction.probabilities) == pytest.approx(1.0)
        confidences.append(max(prediction.probabilities))
        chosen.add(prediction.probabilities.index(confidences[-1]))
    assert chosen == set(range(labels))
    below = sum(confidence < 0.5 for confidence in confidences) / len(confidences)
    assert 0.15 < below < 0.6
    assert max(confidences) > 0.95


async def test_fail_on_fails_the_whole_batch() -> None:
    classifier = FakeClassifier(FakeSettings(fail_on="poison"))
    with pytest.raises(InferenceError, match=r"model\.fail_on"):
        await _classify(classifier, "good", "some poison here", "good")
    assert len(await _classify(classifier, "good", "good")) == 2


async def test_reject_on_concerns_that_text_alone() -> None:
    classifier = FakeClassifier(FakeSettings(reject_on="odd"))
    outcomes = await classifier.prepare(["even", "odd", "even"])
    assert [isinstance(outcome, InferenceError) for outcome in outcomes] == [False, True, False]


async def test_no_error_repeats_the_text() -> None:
    classifier = FakeClassifier(FakeSettings(fail_on="poison", reject_on="odd"))
    (rejected,) = await classifier.prepare(["secret odd"])
    with pytest.raises(InferenceError) as failed:
        await _classify(classifier, "secret poison")
    assert "secret" not in str(rejected) + str(failed.value)


@pytest.mark.parametrize(("limit", "fits"), [(19, False), (20, True), (21, True)])
async def test_oom_over_tokens_counts_padded_tokens(limit: int, fits: bool) -> None:
    classifier = FakeClassifier(FakeSettings(oom_over_tokens=limit))
    texts = ["x" * 32, "x"]  # 10 and 2 tokens: two rows of ten
    if fits:
        assert len(await _classify(classifier, *texts)) == 2
    else:
        with pytest.raises(DeviceMemoryError, match=f"20 padded tokens, {limit} fit"):
            await _classify(classifier, *texts)


async def test_hang_on_never_answers() -> None:
    classifier = FakeClassifier(FakeSettings(hang_on="forever"))
    answer = asyncio.ensure_future(_classify(classifier, "forever"))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not answer.done()
    answer.cancel()


async def test_the_configured_time_leaves_the_loop_free() -> None:
    classifier = FakeClassifier(FakeSettings(batch_s=600.0, token_s=1.0))
    answer = asyncio.ensure_future(_classify(classifier, "text"))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not answer.done()
    answer.cancel()
