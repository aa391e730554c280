"""A text of which the model sees nothing is flagged by every way to ask a model."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamlabel.config.model import EncoderSettings, GenerativeSettings, PromptedSettings
from streamlabel.models import registry
from streamlabel.models.core.classifier import Classifier, Prediction, PreparedText
from testing.tiny_models import build_causal
from tests.models.tiny import build_model

pytestmark = pytest.mark.model

TASK = {"labels": [{"name": "ham", "answers": ["No"]}, {"name": "spam", "answers": ["Yes"]}]}
NOTHING = ["\U0001f4a3\U0001f52b", "\u0e06\u0e48\u0e32", "\ufffd" * 4, "\u0e06 \u0e06", "\u0e06\n"]
SOMETHING = ["Hello world", "good", "\u0e06 Hello", "!"]


# transformers makes a byte-level tokenizer of every Qwen2's.
CHARACTERS = {"falls_back_to_bytes": False, "kind": "StableLm"}


def _encoder(kind: str) -> Callable[[Path], EncoderSettings]:
    return lambda folder: EncoderSettings(path=str(build_model(folder, kind)), device="cpu")


def _causal(folder: Path, **options: Any) -> dict[str, Any]:  # noqa: ANN401 any setting
    path = str(build_causal(folder, **options))
    return {"path": path, "device": "cpu", "threads": 1, "max_tokens": 512, "task": TASK}


def _generative(**options: object) -> Callable[[Path], GenerativeSettings]:
    def settings(folder: Path) -> GenerativeSettings:
        return GenerativeSettings.model_validate(_causal(folder, **CHARACTERS) | options)

    return settings


def _prompted(folder: Path) -> PromptedSettings:
    causal = _causal(folder, **CHARACTERS)
    return PromptedSettings.model_validate(causal)


WAYS: dict[str, Callable[[Path], Any]] = {
    "packed": _encoder("Bert"),
    "padded": _encoder("ModernBert"),
    "one token": _generative(),
    "one token, whole prompts": _generative(reuse_prefix=False),
    "prompted": _prompted,
}


def _answers(classifier: Classifier, texts: list[str]) -> list[tuple[PreparedText, Prediction]]:
    async def ask() -> list[tuple[PreparedText, Prediction]]:
        prepared = [p for p in await classifier.prepare(texts) if isinstance(p, PreparedText)]
        answers = await classifier.classify(prepared)
        await classifier.close()
        predictions = [answer for answer in answers if isinstance(answer, Prediction)]
        return list(zip(prepared, predictions, strict=True))

    return asyncio.run(ask())


@pytest.mark.parametrize("way", WAYS)
def test_a_text_of_which_nothing_is_seen_is_flagged(way: str, tmp_path: Path) -> None:
    classifier = registry.load(WAYS[way](tmp_path))
    answers = _answers(classifier, [*NOTHING, *SOMETHING])
    assert [answer.is_unreadable for _, answer in answers] == [True] * 5 + [False] * 4
    assert [answer.unknown_share for _, answer in answers[:5]] == [1.0] * 5
    assert answers[5][1].unknown_share == 0
    assert 0 < (answers[7][1].unknown_share or 0) < 1
    for prepared, answer in answers:
        assert prepared.is_unreadable == answer.is_unreadable
        assert prepared.unknown_share == answer.unknown_share


def test_a_tokenizer_that_falls_back_to_bytes_has_no_unknown_share(tmp_path: Path) -> None:
    classifier = registry.load(GenerativeSettings.model_validate(_causal(tmp_path)))
    for _, answer in _answers(classifier, [*NOTHING[:3], *SOMETHING]):
        assert answer.unknown_share is None
        assert not answer.is_unreadable
