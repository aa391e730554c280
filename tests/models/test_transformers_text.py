"""Prompted scores on transformers: what the model writes is what is counted."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from streamlabel.config.model import PromptedSettings
from streamlabel.errors import ConfigError, InferenceError, ModelError
from streamlabel.models.core.classifier import Prediction, PreparedText
from streamlabel.models.llm.causal_model import CausalModel
from streamlabel.models.llm.prompted import PromptedClassifier, load
from testing.scoring_qwen import ANSWERS, teach_scores
from tests.models.test_prompts import SPAM

pytestmark = pytest.mark.model

TASK: dict[str, Any] = SPAM | {"examples": [], "instruction": "Spam?"}


def settings(folder: Path, **changes: object) -> PromptedSettings:
    given: dict[str, object] = {"path": str(folder), "device": "cpu", "threads": 1, "task": TASK}
    return PromptedSettings.model_validate(given | {"max_tokens": 1024} | changes)


@pytest.fixture(scope="module")
def trained(tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return teach_scores(tiny_llm, TASK, tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def classifier(trained: Path) -> Iterator[PromptedClassifier]:
    loaded = load(settings(trained))
    yield loaded
    asyncio.run(loaded.close())


async def ask(classifier: PromptedClassifier, *texts: str) -> list[Prediction | InferenceError]:
    prepared = [text for text in await classifier.prepare(texts) if isinstance(text, PreparedText)]
    return await classifier.classify(prepared)


async def test_what_the_model_writes_is_what_is_counted(classifier: PromptedClassifier) -> None:
    for outcome, scores in zip(await ask(classifier, *ANSWERS), ANSWERS.values(), strict=True):
        assert isinstance(outcome, Prediction)
        total = sum(scores.values())
        assert outcome.probabilities == pytest.approx([s / total for s in scores.values()])
        assert outcome.sum_error == abs(total - 100)


async def test_a_batch_writes_what_its_texts_write_alone(classifier: PromptedClassifier) -> None:
    together = await ask(classifier, *ANSWERS)
    alone = [(await ask(classifier, text))[0] for text in ANSWERS]
    assert together == alone


async def test_a_model_that_knows_no_form_is_unparseable(tiny_llm: Path) -> None:
    classifier = await asyncio.to_thread(load, settings(tiny_llm))
    assert classifier.identity.details["probe"] in {"not_json", "text_around", "not_an_object"}
    outcomes = await ask(classifier, "Hello", "")
    unparseable = Prediction(None, review_reasons=("unparseable",))
    assert outcomes == [unparseable, replace(unparseable, is_unreadable=True)]
    await classifier.close()
    with pytest.raises(ModelError, match="closed"):
        await classifier.prepare(["a"])


async def test_the_answer_has_room_behind_the_longest_text(classifier: PromptedClassifier) -> None:
    (prepared,) = await classifier.prepare(["blah " * 10_000])
    assert isinstance(prepared, PreparedText)
    assert prepared.truncated
    assert prepared.tokens + 20 < 1024
    (outcome,) = await classifier.classify([prepared])
    assert isinstance(outcome, Prediction)
    assert outcome.truncated


def test_the_identity_names_engine_and_prompt(classifier: PromptedClassifier) -> None:
    identity = classifier.identity
    assert (identity.backend, identity.details["engine"]) == ("prompted", "transformers")
    assert len(identity.prompt_version or "") == 12


def test_class_names_that_fill_the_answer_are_refused(tiny_llm: Path) -> None:
    names = [{"name": f"{i}" + "x" * 100} for i in range(12)]
    with pytest.raises(ConfigError, match="the answer alone may take"):
        load(settings(tiny_llm, task={"labels": names}))


# Every generation setting with which a checkpoint could change greedy text, or its form.
KNOBS: dict[str, object] = {
    "suppress_tokens": list(range(300, 760)),
    "begin_suppress_tokens": list(range(5, 760)),
    "bad_words_ids": [[token] for token in range(300, 760)],
    "sequence_bias": [[[token], -100.0] for token in range(300, 760)],
    "no_repeat_ngram_size": 1,
    "repetition_penalty": 5.0,
    "forced_bos_token_id": 7,
    "forced_eos_token_id": 7,
    "min_length": 200,
    "min_new_tokens": 200,
    "max_length": 3,
    "exponential_decay_length_penalty": [1, 50.0],
    "num_beams": 3,
    "num_return_sequences": 1,
    "do_sample": True,
    "temperature": 5.0,
    "guidance_scale": 3.0,
    "eos_token_id": list(range(100, 760)),
    "prompt_lookup_num_tokens": 3,
    "return_dict_in_generate": True,
    "max_time": 1e-6,
    "stop_strings": ["e", "a", "o"],
    "use_cache": False,
}


def test_no_generation_setting_of_a_checkpoint_changes_what_is_written(tiny_llm: Path) -> None:
    torch.manual_seed(3)
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_llm, dtype=torch.float32).eval()
    rows = [np.array([1, 40, 50, 60]), np.array([1, 90, 91, 92, 93])]
    for name, value in {"nothing": None, **KNOBS}.items():
        model.generation_config = transformers.GenerationConfig(**{name: value})
        served = CausalModel(model, device="cpu", pad_id=0)
        written = served.generate(rows, max_new_tokens=8, end_ids=[2])
        assert written == [_greedy(model, row.tolist()) for row in rows], name


def _greedy(model: transformers.PreTrainedModel, ids: list[int]) -> list[int]:
    """Write eight tokens, one forward pass each, until token 2."""
    written: list[int] = []
    with torch.inference_mode():
        while len(written) < 8:
            top = int(model(torch.tensor([[*ids, *written]])).logits[0, -1].argmax())
            if top == 2:
                break
            written.append(top)
    return written
