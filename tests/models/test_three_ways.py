"""The code of docs/three-ways.md, as it is there, and the service on the same example agree."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from streamlabel.config.model import GenerativeSettings, PromptedSettings
from streamlabel.models.core.classifier import Classifier, Prediction, PreparedText
from streamlabel.models.llm import generative, prompted
from streamlabel.models.prompts.score_json import Scores, parse
from testing.twins import read

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]

PAGE = Path(__file__).parents[2] / "docs" / "three-ways.md"
TEXTS = ("主队三比一获胜", "恭喜您中奖")


@pytest.fixture(scope="module")
def plain(small_llm: Path) -> Mapping[str, Any]:
    """Run the page's first block of code with the small model in place of its own."""
    code = PAGE.read_text().split("```python\n")[1].split("```")[0]
    own = 'MODEL = "./models/qwen3-0.6b"'
    assert own in code
    names: dict[str, Any] = {}
    exec(code.replace(own, f"MODEL = {str(small_llm)!r}"), names)  # noqa: S102 our own page
    return names


def section(name: str, small_llm: Path) -> dict[str, Any]:
    place = {"path": str(small_llm), "device": "cpu", "dtype": "float32", "threads": 1}
    model: dict[str, Any] = read(name)["model"]
    return model | place


def ask(load: Callable[[], Classifier]) -> list[Prediction]:
    async def predictions() -> list[Prediction]:
        classifier = await asyncio.to_thread(load)
        prepared = [p for p in await classifier.prepare(TEXTS) if isinstance(p, PreparedText)]
        found = [p for p in await classifier.classify(prepared) if isinstance(p, Prediction)]
        await classifier.close()
        return found

    found = asyncio.run(predictions())
    assert len(found) == len(TEXTS)
    return found


@pytest.mark.parametrize("way", ["yes_no", "letters"])
def test_probabilities_are_those_of_the_plain_code(
    way: str, plain: Mapping[str, Any], small_llm: Path
) -> None:
    name = f"generative-chinese-{way.replace('_', '-')}"
    settings = GenerativeSettings.model_validate(section(name, small_llm))
    answers = ask(lambda: generative.load(settings))
    moved = 0.0
    for text, answer in zip(TEXTS, answers, strict=True):
        expected = plain[way](text)
        assert answer.probabilities == pytest.approx(expected, abs=1e-4)
        pairs = zip(answer.probabilities or (), expected, strict=True)
        moved = max(moved, *(abs(one - other) for one, other in pairs))
    print(name, moved)  # noqa: T201 a parity figure for the record


def test_scores_are_those_that_the_plain_code_writes(
    plain: Mapping[str, Any], small_llm: Path
) -> None:
    settings = PromptedSettings.model_validate(section("prompted-chinese", small_llm))
    answers = ask(lambda: prompted.load(settings))
    read_scores = 0
    for text, answer in zip(TEXTS, answers, strict=True):
        outcome = parse(plain["written_scores"](text), settings.task.names)
        if isinstance(outcome, Scores):
            read_scores += 1
            assert answer.probabilities == outcome.probabilities
    # the examples make even a small model write objects
    assert read_scores
