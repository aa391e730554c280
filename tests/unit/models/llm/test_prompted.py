"""A malformed answer earns one second try that says what was wrong; then a person decides."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from streamlabel.errors import InferenceError
from streamlabel.models.core.classifier import BatchHints, ModelIdentity, Prediction, PreparedText
from streamlabel.models.core.labels import LabelSet
from streamlabel.models.llm.prompted import PromptedClassifier
from streamlabel.models.prompts.score_json import Fault

Step = str | InferenceError


class ScriptedEngine:
    """Answers each text from its script, one step per try; records what it was asked."""

    identity = ModelIdentity("scripted", "prompted", "cpu", "none", "0")
    hints = BatchHints(max_in_flight=3)

    def __init__(self, script: dict[str, list[Step]], *, refuses: Sequence[str] = ()) -> None:
        self.script = script
        self.refuses = refuses
        self.asked: list[list[tuple[str, Fault | None]]] = []
        self.limits: list[int] = []
        self.is_closed = False

    async def encode(
        self, texts: Sequence[str], faults: Sequence[Fault | None]
    ) -> list[PreparedText | InferenceError]:
        """Make the payload (text, fault)."""
        return [
            InferenceError("refused")
            if text in self.refuses
            else PreparedText(len(text) + 10, (text, fault), truncated=len(text) > 20)
            for text, fault in zip(texts, faults, strict=True)
        ]

    async def generate_text(
        self, prompts: Sequence[PreparedText], *, max_tokens: int, json_schema: dict[str, Any]
    ) -> list[str | InferenceError]:
        """Take the next step of each text."""
        assert json_schema["required"] == ["ham", "spam"]
        self.limits.append(max_tokens)
        self.asked.append([prompt.payload for prompt in prompts])
        return [self.script[text].pop(0) for text, _ in self.asked[-1]]

    async def close(self) -> None:
        """Note it."""
        self.is_closed = True


def scores(ham: int, spam: int) -> str:
    return json.dumps({"ham": ham, "spam": spam})


async def classified(
    engine: ScriptedEngine, *, reviews_truncated: bool = False, lenient: bool = False
) -> dict[str, Prediction | InferenceError]:
    classifier = PromptedClassifier(
        labels=LabelSet(("ham", "spam")),
        engine=engine,
        reviews_truncated=reviews_truncated,
        lenient=lenient,
    )
    texts = list(engine.script)
    prepared = [text for text in await classifier.prepare(texts) if isinstance(text, PreparedText)]
    return dict(zip(texts, await classifier.classify(prepared), strict=True))


async def test_scores_become_probabilities() -> None:
    outcome = (await classified(ScriptedEngine({"hi": [scores(76, 19)]})))["hi"]
    assert isinstance(outcome, Prediction)
    assert outcome.probabilities == pytest.approx((0.8, 0.2))
    assert outcome.sum_error == 5
    assert outcome.review_reasons == ()
    assert outcome.off_label_mass is None


async def test_a_lenient_reading_asks_no_second_time_and_is_in_the_prediction() -> None:
    fenced = f"```json\n{scores(76, 24)}\n```"
    for lenient, tries in ((True, 1), (False, 2)):
        engine = ScriptedEngine({"hi": [fenced, scores(60, 40)], "ho": [scores(50, 50)]})
        said = await classified(engine, lenient=lenient)
        hi, ho = said["hi"], said["ho"]
        assert isinstance(hi, Prediction)
        assert isinstance(ho, Prediction)
        assert len(engine.asked) == tries
        assert (hi.lenient_reading, ho.lenient_reading) == ("fence" if lenient else None, None)


async def test_only_malformed_answers_are_asked_again_with_their_fault() -> None:
    engine = ScriptedEngine(
        {
            "good": [scores(90, 10)],
            "prose": ["ham, I think", scores(80, 20)],
            "fenced": [f"```{scores(1, 99)}```", scores(1, 99)],
        }
    )
    outcomes = await classified(engine)
    assert engine.asked[1:] == [[("prose", "not_json"), ("fenced", "text_around")]]
    probabilities = [o.probabilities for o in outcomes.values() if isinstance(o, Prediction)]
    assert probabilities == [(0.9, 0.1), (0.8, 0.2), (0.01, 0.99)]


async def test_a_second_malformed_answer_goes_to_review_and_is_not_asked_again() -> None:
    engine = ScriptedEngine({"hi": ["no", scores(1, 1), scores(50, 50)]})
    assert await classified(engine) == {"hi": Prediction(None, review_reasons=("unparseable",))}
    assert len(engine.asked) == 2


async def test_an_error_of_the_engine_concerns_its_text_alone() -> None:
    error = InferenceError("cut off")
    engine = ScriptedEngine({"bad": [error], "good": [scores(90, 10)], "later": ["no", error]})
    outcomes = await classified(engine)
    assert outcomes["bad"] is error
    assert outcomes["later"] is error
    assert isinstance(outcomes["good"], Prediction)


async def test_a_text_that_cannot_be_encoded_is_an_error_alone() -> None:
    engine = ScriptedEngine({}, refuses=["poison"])
    classifier = PromptedClassifier(labels=LabelSet(("ham", "spam")), engine=engine)
    fine, poison = await classifier.prepare(["fine", "poison"])
    assert isinstance(fine, PreparedText)
    assert isinstance(poison, InferenceError)
    assert await classifier.classify([]) == []


@pytest.mark.parametrize("answer", [scores(90, 10), "no"])
@pytest.mark.parametrize("reviews_truncated", [True, False])
async def test_truncated_texts_are_flagged(answer: str, *, reviews_truncated: bool) -> None:
    text = "a text of more than twenty characters"
    engine = ScriptedEngine({text: [answer, "no"]})
    outcome = (await classified(engine, reviews_truncated=reviews_truncated))[text]
    assert isinstance(outcome, Prediction)
    assert outcome.truncated
    assert ("truncated" in outcome.review_reasons) is reviews_truncated
    assert ("unparseable" in outcome.review_reasons) is (answer == "no")


async def test_the_engine_decides_how_much_is_in_flight_and_is_closed() -> None:
    engine = ScriptedEngine({})
    classifier = PromptedClassifier(labels=LabelSet(("ham", "spam")), engine=engine)
    assert classifier.hints.max_in_flight == 3
    assert classifier.identity is engine.identity
    await classifier.close()
    assert engine.is_closed
