"""Instruction-like texts cannot change the structure of a prompt; what they do to labels shows."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from streamlabel.config.model import GenerativeSettings
from streamlabel.models.core.classifier import Prediction, PreparedText
from streamlabel.models.llm.generative import GenerativeClassifier, load
from streamlabel.models.prompts.chat_template import Chat, load_chat
from testing.injections import ATTACKS, CARRIER, INJECTIONS, flips
from tests.models.test_prompts import SPAM, prompt_for, structure, task

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def chat(tiny_llm: Path) -> Chat:
    return load_chat(tiny_llm, name="tiny")


def test_there_are_forty_different_ones() -> None:
    assert len(set(ATTACKS)) == 40


@pytest.mark.parametrize("delimited", [True, False])
@pytest.mark.parametrize("text", INJECTIONS)
def test_no_text_changes_the_structure(chat: Chat, text: str, *, delimited: bool) -> None:
    prompt = prompt_for(chat, task() if delimited else task(delimiters=None))
    attacked, clean = prompt.encode(text), prompt.encode(CARRIER)
    assert structure(chat, attacked.ids) == structure(chat, clean.ids)
    assert attacked.ids[: len(prompt.prefix_ids)] == prompt.prefix_ids
    assert attacked.ids[-len(prompt.suffix_ids) :] == prompt.suffix_ids
    if delimited:
        shown, expected = chat.tokens.decode(attacked.ids), chat.tokens.decode(clean.ids)
        for mark in ("<text>", "</text>"):
            assert shown.lower().count(mark) == expected.lower().count(mark)


async def labels(classifier: GenerativeClassifier, texts: Sequence[str]) -> list[str]:
    prepared = [text for text in await classifier.prepare(texts) if isinstance(text, PreparedText)]
    names = []
    for outcome in await classifier.classify(prepared):
        assert isinstance(outcome, Prediction)
        assert outcome.probabilities is not None
        best = max(range(len(outcome.probabilities)), key=outcome.probabilities.__getitem__)
        names.append(classifier.labels.names[best])
    return names


async def test_flips_are_reported_with_and_without_delimiters(
    tiny_llm: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """An untrained model says nothing about attacks; this keeps the measurement working."""
    for name, delimiters in (("delimited", {}), ("bare", {"delimiters": None})):
        settings = GenerativeSettings.model_validate(
            {"path": str(tiny_llm), "device": "cpu", "threads": 1, "task": SPAM | delimiters}
        )
        classifier = await asyncio.to_thread(load, settings)
        attacked = await labels(classifier, INJECTIONS)
        clean = await labels(classifier, [CARRIER] * len(INJECTIONS))
        share = flips(clean, attacked)
        record_testsuite_property(f"flips_{name}", share)
        assert 0 <= share <= 1
        await classifier.close()
