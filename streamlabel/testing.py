"""The requirements of the contract ``Classifier``, each as a check, for your own back end.

``check_classifier`` runs all of them; the project's own back ends must pass the same checks.
"""

import asyncio
import math
import pickle
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from streamlabel.errors import ModelError
from streamlabel.models.core.classifier import Classifier, Prediction, PreparedText

__all__ = ["HOSTILE", "PROMISES", "TEXTS", "Promise", "check_classifier"]

Promise = Callable[[Classifier], Awaitable[None]]
Answer = tuple[float, ...]

TEXTS: Final = (
    "good match", "rain", "the stock is bad!", "a " * 30, "好坏好", "the rain is good. " * 4,
)  # fmt: skip
# Every str must be accepted.
HOSTILE: Final = (
    "", " ", "\n\t\r\n", "\x00", "\x1b[31m", "\ud800", "good \udfff bad", "\U0010ffff", "\uffff",
    "\u0301" * 1000, "\U0001f468\u200d\U0001f469", "\u202e good", "\u200b" * 1000, "x" * 200_000,
    "the rain " * 20_000, "[SEP] [MASK] </s> <|im_end|>", "\uff27\uff2f\uff24", "e\u0301" * 40,
)  # fmt: skip
# Another composition of the batch changes the order of summation, but not the prediction.
_TOLERANCE: Final = 1e-4


async def check_classifier(open_classifier: Callable[[], Awaitable[Classifier]]) -> None:
    """Check every requirement of ``Classifier``.

    Args:
        open_classifier: returns a new one; called twice. Use the settings of a small model.

    Raises:
        AssertionError: a requirement is not met; its name is a note of the error.
    """
    classifier = await open_classifier()
    try:
        for name, promise in PROMISES.items():
            try:
                await promise(classifier)
            except AssertionError as error:
                error.add_note(f"promise: {name.replace('_', ' ')}")
                raise
    finally:
        await classifier.close()
    await _closing_twice_is_fine_and_calls_afterwards_are_errors(await open_classifier())


async def _says_which_model_and_labels_it_has(classifier: Classifier) -> None:
    identity, hints = classifier.identity, classifier.hints
    assert len(classifier.labels) >= 1
    assert all((identity.name, identity.backend, identity.device, identity.dtype)), identity
    assert len(bytes.fromhex(identity.digest)) >= 16, "the digest must have 16 bytes or more"
    assert hints.max_in_flight - hints.queued >= 1, "max_in_flight must be larger than queued"


async def _no_texts_have_no_answers(classifier: Classifier) -> None:
    assert await classifier.prepare([]) == []
    assert await classifier.classify([]) == []


async def _preparing_keeps_order_and_length(classifier: Classifier) -> None:
    together = await _prepare(classifier, TEXTS)
    alone = [(await _prepare(classifier, [text]))[0] for text in TEXTS]
    assert together == alone
    assert len({prepared.tokens for prepared in together}) > 1, "tokens must depend on the text"
    assert all(prepared.tokens >= 1 and prepared.rows >= 1 for prepared in together)


async def _classifying_keeps_order_and_length(classifier: Classifier) -> None:
    prepared = await _prepare(classifier, TEXTS)
    together = await _classify(classifier, prepared)
    _expect(together, [(await _classify(classifier, [text]))[0] for text in prepared])
    assert len(set(together)) > 1, "different texts must get different predictions"


async def _a_batch_may_mix_texts_that_were_prepared_apart(classifier: Classifier) -> None:
    first = await _prepare(classifier, TEXTS[:3])
    second = await _prepare(classifier, TEXTS[3:])
    in_order = await _classify(classifier, [*first, *second])
    _expect(await _classify(classifier, [*reversed(second), *reversed(first)]), in_order[::-1])


async def _a_prepared_text_may_be_classified_again(classifier: Classifier) -> None:
    prepared = await _prepare(classifier, TEXTS)
    expected = await _classify(classifier, prepared)
    _expect(await _classify(classifier, prepared), expected)
    _expect(await _classify(classifier, [*prepared, *prepared]), expected * 2)


async def _a_prepared_text_pickles(classifier: Classifier) -> None:
    prepared = await _prepare(classifier, TEXTS)
    copies = pickle.loads(pickle.dumps(prepared))  # noqa: S301 our own
    _expect(await _classify(classifier, copies), await _classify(classifier, prepared))


async def _probabilities_are_one_per_label(classifier: Classifier) -> None:
    for outcome in await classifier.classify(await _prepare(classifier, TEXTS)):
        assert isinstance(outcome, Prediction)
        probabilities, log_scores = outcome.probabilities, outcome.log_scores
        if probabilities is None or log_scores is None:
            assert outcome.review_reasons, "without probabilities there must be a reason"
            continue
        assert len(probabilities) == len(log_scores) == len(classifier.labels)
        assert all(0 <= probability <= 1 for probability in probabilities)
        if classifier.labels.problem_type == "single_label":
            assert abs(math.fsum(probabilities) - 1) < 1e-6, "the probabilities must sum to 1"
        assert all(type(number) is float for number in probabilities + log_scores), "plain floats"
        largest = log_scores.index(max(log_scores))
        assert probabilities[largest] == max(probabilities)


async def _any_text_is_taken_and_disturbs_no_other(classifier: Classifier) -> None:
    expected = await _classify(classifier, await _prepare(classifier, ["good match"]))
    for text in HOSTILE:
        prepared = await _prepare(classifier, ["good match", text])
        _expect((await _classify(classifier, prepared))[:1], expected)


async def _what_was_seen_of_a_text_comes_with_its_answer(classifier: Classifier) -> None:
    prepared = await _prepare(classifier, ["good match", "", "\u200b", "[SEP] \u0e06"])
    answers = await classifier.classify(prepared)
    for text, answer in zip(prepared, answers, strict=True):
        assert isinstance(answer, Prediction)
        assert answer.is_unreadable == text.is_unreadable
        assert answer.unknown_share == text.unknown_share
    assert not prepared[0].is_unreadable


async def _calls_at_the_same_time_keep_their_answers_apart(classifier: Classifier) -> None:
    batches = [[f"{text} {number}" for text in TEXTS[: number + 1]] for number in range(6)]
    prepared = [await _prepare(classifier, batch) for batch in batches]
    expected = [await _classify(classifier, batch) for batch in prepared]
    answers = await asyncio.gather(*(_classify(classifier, batch) for batch in prepared * 2))
    for answer, wanted in zip(answers, expected * 2, strict=True):
        _expect(answer, wanted)


async def _texts_are_prepared_while_others_are_classified(classifier: Classifier) -> None:
    prepared = await _prepare(classifier, TEXTS)
    one, meanwhile, other = await asyncio.gather(
        _classify(classifier, prepared),
        _prepare(classifier, TEXTS),
        _classify(classifier, prepared),
    )
    assert meanwhile == prepared
    _expect(one, other)


async def _a_caller_that_leaves_does_not_disturb_the_others(classifier: Classifier) -> None:
    prepared = await _prepare(classifier, TEXTS)
    expected = await _classify(classifier, prepared)
    leaving = asyncio.ensure_future(_classify(classifier, prepared))
    staying = asyncio.ensure_future(_classify(classifier, prepared))
    await asyncio.sleep(0)
    leaving.cancel()
    _expect(await staying, expected)


async def _closing_twice_is_fine_and_calls_afterwards_are_errors(classifier: Classifier) -> None:
    prepared = await _prepare(classifier, ["text"])
    await classifier.close()
    await classifier.close()
    for call in (classifier.prepare(["text"]), classifier.classify(prepared)):
        try:
            await call
        except ModelError as error:
            assert "closed" in str(error), "the message must say that it is closed"  # noqa: PT017
        else:
            raise AssertionError("a call after close must raise ModelError")


PROMISES: Final[Mapping[str, Promise]] = MappingProxyType(
    {
        promise.__name__.removeprefix("_"): promise
        for promise in (
            _says_which_model_and_labels_it_has,
            _no_texts_have_no_answers,
            _preparing_keeps_order_and_length,
            _classifying_keeps_order_and_length,
            _a_batch_may_mix_texts_that_were_prepared_apart,
            _a_prepared_text_may_be_classified_again,
            _a_prepared_text_pickles,
            _probabilities_are_one_per_label,
            _any_text_is_taken_and_disturbs_no_other,
            _what_was_seen_of_a_text_comes_with_its_answer,
            _calls_at_the_same_time_keep_their_answers_apart,
            _texts_are_prepared_while_others_are_classified,
            _a_caller_that_leaves_does_not_disturb_the_others,
        )
    }
)


async def _prepare(classifier: Classifier, texts: Sequence[str]) -> list[PreparedText]:
    outcomes = await classifier.prepare(texts)
    prepared = [outcome for outcome in outcomes if isinstance(outcome, PreparedText)]
    assert len(prepared) == len(outcomes) == len(texts), "every str must be accepted"
    return prepared


async def _classify(classifier: Classifier, prepared: Sequence[PreparedText]) -> list[Answer]:
    outcomes = await classifier.classify(prepared)
    predictions = [outcome for outcome in outcomes if isinstance(outcome, Prediction)]
    assert len(predictions) == len(outcomes) == len(prepared), "one prediction per text"
    return [prediction.probabilities or () for prediction in predictions]


def _expect(answers: Sequence[Answer], expected: Sequence[Answer]) -> None:
    assert [len(answer) for answer in answers] == [len(answer) for answer in expected]
    pairs = zip(answers, expected, strict=True)
    assert all(
        abs(one - other) <= _TOLERANCE for pair in pairs for one, other in zip(*pair, strict=True)
    ), "equal texts must get equal predictions in every batch"
