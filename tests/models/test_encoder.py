"""The encoder back end against plain transformers, on tiny models and on MiniLM."""

import asyncio
import pickle
import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from streamlabel.config.model import EncoderSettings
from streamlabel.errors import InferenceError, ModelError
from streamlabel.models.core.classifier import Prediction, PreparedText
from streamlabel.models.encoder.classifier import EncoderClassifier, load
from tests.models.tiny import LABELS, PlainTransformers, build_minilm, build_model, build_tokenizer

pytestmark = pytest.mark.model

TEXTS = [
    "good match", "a", "", "   ", "the rain is bad!", "好坏好", "stocks " * 90, "x" * 101, "x" * 99,
    "[SEP] good [MASK]", "caf\u00e9 na\u00efve", "\U0001f600 good",
    "\U0001f468\u200d\U0001f469 bad", "a\x00b\x07c\u200b d\ufffd", "tabs\tand\nlines\r\n",
    "e\u0301" * 40, "the " * 61, "the " * 62, "the " * 63,
]  # fmt: skip
HOSTILE = [
    "\ud800", "good \udfff bad", "\ud83d\ude00", "\x00" * 1000, "\u0301" * 3000,
    "\u200b" * 100_000, "\U0001f600" * 100_000, "\ud800" * 100_000, "!" * 100_000, "x" * 100_000,
    " " * 100_000, "\ufffd" * 100_000, "好" * 100_000,
    "\x1b[31m", "\u202e good", "\uffff", "\U0010ffff",
]  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("models") / "tiny-bert")


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_minilm(tmp_path_factory.mktemp("models") / "minilm")


def settings(folder: Path, **changes: object) -> EncoderSettings:
    return EncoderSettings.model_validate({"path": str(folder), "device": "cpu"} | changes)


async def loaded(wanted: EncoderSettings) -> EncoderClassifier:
    return await asyncio.to_thread(load, wanted)  # it blocks; in production it has a process


async def classify(classifier: EncoderClassifier, texts: Sequence[str]) -> list[Prediction]:
    """Return what it says, and close it; every text must have an answer."""
    try:
        prepared = await classifier.prepare(texts)
        assert all(isinstance(text, PreparedText) for text in prepared)
        answers = await classifier.classify([t for t in prepared if isinstance(t, PreparedText)])
    finally:
        await classifier.close()
    assert len(answers) == len(texts)
    assert all(isinstance(answer, Prediction) for answer in answers)
    return [answer for answer in answers if isinstance(answer, Prediction)]


def assert_close(prediction: Prediction, probabilities: torch.Tensor) -> None:
    assert prediction.probabilities is not None
    assert prediction.probabilities == pytest.approx(probabilities.tolist(), abs=1e-4)


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "DistilBert", "Electra", "ModernBert"])
async def test_a_batch_equals_transformers_one_text_at_a_time(tmp_path: Path, kind: str) -> None:
    # RoBERTa's positions start behind the padding token's, which is token 0 here
    folder = build_model(tmp_path, kind, max_position_embeddings=65 if kind == "Roberta" else 64)
    predictions = await classify(await loaded(settings(folder)), TEXTS)
    plain = PlainTransformers(folder)
    for text, prediction in zip(TEXTS, predictions, strict=True):
        logits = plain.logits(text)[0]
        assert_close(prediction, logits.softmax(-1))
        assert prediction.log_scores == pytest.approx(logits.tolist(), abs=1e-3)
        whole = plain.tokenizer(text, truncation=False)["input_ids"]
        assert prediction.truncated == (len(whole) > 64)


async def test_minilm_equals_transformers_on_mixed_lengths(minilm: Path) -> None:
    rng = random.Random(5)
    words = [
        "the",
        "match",
        "won",
        "by",
        "a",
        "late",
        "goal",
        "stocks",
        "Tokyo,",
        ".",
        "http://x.y",
    ]
    texts = [" ".join(rng.choices(words, k=int(rng.lognormvariate(2.5, 1)) + 1)) for _ in range(40)]
    texts += ["word " * 600, ""]
    predictions = await classify(await loaded(settings(minilm)), texts)
    plain = PlainTransformers(minilm)
    for text, prediction in zip(texts, predictions, strict=True):
        assert_close(prediction, plain.logits(text, max_length=512)[0].softmax(-1))
    assert [p.truncated for p in predictions] == [False] * 40 + [True, False]


async def test_a_text_has_the_same_answer_alone_and_in_a_batch(tiny: Path) -> None:
    batch = await classify(await loaded(settings(tiny)), TEXTS)
    for text, in_batch in zip(TEXTS, batch, strict=True):
        alone = (await classify(await loaded(settings(tiny)), [text]))[0]
        assert alone.probabilities == pytest.approx(in_batch.probabilities, abs=1e-5)


async def test_batches_side_by_side_answer_as_one_after_the_other_would(tiny: Path) -> None:
    classifier = await loaded(settings(tiny, threads=2))
    assert classifier.hints.max_in_flight == 3  # one computes on each core, one is queued
    try:
        prepared = [p for p in await classifier.prepare(TEXTS * 8) if isinstance(p, PreparedText)]
        parts = [prepared[start : start + 7] for start in range(0, len(prepared), 7)]
        alone = [await classifier.classify(part) for part in parts]
        assert await asyncio.gather(*map(classifier.classify, parts)) == alone
    finally:
        await classifier.close()


async def test_a_model_that_pads_computes_one_batch_at_a_time(tmp_path: Path) -> None:
    folder = build_model(tmp_path, "Albert", embedding_size=16)
    classifier = await loaded(settings(folder, threads=2))
    await classifier.close()
    assert classifier.hints.max_in_flight == 2


async def test_multi_label_is_a_sigmoid_per_label(tmp_path: Path) -> None:
    folder = build_model(tmp_path, problem_type="multi_label_classification")
    classifier = await loaded(settings(folder))
    assert classifier.labels.problem_type == "multi_label"
    predictions = await classify(classifier, TEXTS)
    plain = PlainTransformers(folder)
    for text, prediction in zip(TEXTS, predictions, strict=True):
        assert_close(prediction, plain.logits(text)[0].sigmoid())


async def test_the_problem_type_of_the_settings_wins(tmp_path: Path) -> None:
    folder = build_model(tmp_path, problem_type="multi_label_classification")
    (prediction,) = await classify(
        await loaded(settings(folder, problem_type="single_label")), ["good"]
    )
    assert prediction.probabilities is not None
    assert sum(prediction.probabilities) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("pool", ["mean", "max"])
async def test_windows_equal_transformers_overflowing_windows(tiny: Path, pool: str) -> None:
    texts = ["good " * 61, "good " * 63, "the match was bad " * 40, "rain", "stock a b c " * 70]
    wanted = settings(tiny, long_text="windows", window_stride_tokens=16, window_pool=pool)
    predictions = await classify(await loaded(wanted), texts)
    plain = PlainTransformers(tiny)
    for text, prediction in zip(texts, predictions, strict=True):
        logits = plain.logits(
            text, max_length=64, stride=16, return_overflowing_tokens=True, padding=True
        )
        pooled = logits.mean(0) if pool == "mean" else logits.amax(0)
        assert_close(prediction, pooled.softmax(-1))
        assert not prediction.truncated


async def test_more_windows_than_allowed_are_flagged(tiny: Path) -> None:
    wanted = settings(tiny, long_text="windows", window_stride_tokens=16, max_windows=2)
    limit = 62 + 46
    cases = [
        ("good " * (limit - 1), False),
        ("good " * limit, False),
        ("good " * (limit + 1), True),
    ]
    classifier = await loaded(wanted)
    prepared = await classifier.prepare([text for text, _ in cases])
    await classifier.close()
    for text, (_, truncated) in zip(prepared, cases, strict=True):
        assert isinstance(text, PreparedText)
        assert (text.rows, text.tokens, text.truncated) == (2, 64, truncated)


async def test_the_review_policy_answers_and_asks_for_a_person(tiny: Path) -> None:
    texts = ["good " * 100, "good"]
    cut, whole = await classify(await loaded(settings(tiny, long_text="review")), texts)
    assert (cut.truncated, cut.review_reasons) == (True, ("truncated",))
    assert (whole.truncated, whole.review_reasons) == (False, ())
    assert_close(cut, PlainTransformers(tiny).logits(texts[0])[0].softmax(-1))


@pytest.mark.parametrize("long_text", ["truncate", "windows"])
async def test_hostile_texts_have_an_answer(tiny: Path, long_text: str) -> None:
    wanted = settings(tiny, long_text=long_text, window_stride_tokens=8, max_windows=3)
    for prediction in await classify(await loaded(wanted), HOSTILE):
        assert prediction.probabilities is not None
        assert sum(prediction.probabilities) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    ("text", "truncated"),
    [
        ("good match " * 460_000, True),
        ("x" * 5_000_000, False),  # one unknown word
        (" " * 5_000_000, False),
        ("good" + " " * 4_999_990 + "bad", False),
        ("good " + "\x00" * 4_999_990, False),
        ("\u200b" * 2_500_000 + "good bad " * 280_000, True),
        ("x" * 4_000_000 + " good", False),
        ("!" * 5_000_000, True),
    ],
    ids=["words", "one word", "blank", "words apart", "control", "late words", "giant", "marks"],
)
async def test_five_megabytes_are_cut_honestly_and_soon(
    tiny: Path, text: str, *, truncated: bool
) -> None:
    classifier = await loaded(settings(tiny))
    started = time.monotonic()
    (prepared,) = await classifier.prepare([text])
    took_s = time.monotonic() - started
    await classifier.close()
    assert isinstance(prepared, PreparedText)
    assert prepared.truncated == truncated
    assert took_s < 20  # a hang, not a slow machine


async def test_a_long_text_is_cut_where_transformers_cuts_it(minilm: Path) -> None:
    sentence = "Tōkyō's uncharacteristically-long sentence, number 12345; 东京 unputdownable "
    text = sentence * 3000
    classifier = await loaded(settings(minilm))
    (prepared,) = await classifier.prepare([text])
    await classifier.close()
    assert isinstance(prepared, PreparedText)
    plain = PlainTransformers(minilm).tokenizer(
        text, truncation=True, max_length=512, return_tensors="np"
    )
    assert prepared.payload[0] == plain["input_ids"].astype("int32").tobytes()


async def test_the_padding_that_a_tokenizer_file_remembers_is_ignored(tmp_path: Path) -> None:
    folder = build_model(tmp_path)
    build_tokenizer(folder, truncated_at=8)
    classifier = await loaded(settings(folder))
    short, long = await classifier.prepare(["good", "good " * 30])
    await classifier.close()
    assert isinstance(short, PreparedText)
    assert isinstance(long, PreparedText)
    assert (short.tokens, long.tokens, long.truncated) == (3, 32, False)


async def test_prepared_texts_survive_the_process_border(tiny: Path) -> None:
    classifier = await loaded(settings(tiny))
    prepared = await classifier.prepare(TEXTS)
    assert pickle.loads(pickle.dumps(prepared)) == prepared  # noqa: S301 our own bytes
    await classifier.close()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
async def test_half_precision_stays_close_and_its_head_is_float32(tiny: Path, dtype: str) -> None:
    classifier = await loaded(settings(tiny, dtype=dtype))
    assert classifier.identity.dtype == dtype
    predictions = await classify(classifier, ["good match", "the rain"])
    plain = PlainTransformers(tiny)
    for text, prediction in zip(["good match", "the rain"], predictions, strict=True):
        assert prediction.probabilities == pytest.approx(
            plain.logits(text)[0].softmax(-1).tolist(), abs=0.1
        )
        assert prediction.log_scores is not None
        coarse = torch.tensor(prediction.log_scores).to(getattr(torch, dtype)).float()
        assert coarse.tolist() != list(prediction.log_scores)


async def test_logits_that_are_not_finite_are_an_error_of_that_text(tmp_path: Path) -> None:
    folder = build_model(tmp_path)
    classifier = await loaded(settings(folder))
    prepared = [
        t for t in await classifier.prepare(["good", "bad", "rain"]) if isinstance(t, PreparedText)
    ]
    real = classifier._forward.logits

    class OneNaN:
        def logits(self, rows: Sequence[object], types: object) -> object:
            assert types is None  # of single texts
            logits = real(rows)  # type: ignore[arg-type]  # passes through what it is given
            logits[1] = float("nan")
            return logits

    classifier._forward = OneNaN()  # type: ignore[assignment]  # the double returns object
    first, second, third = await classifier.classify(prepared)
    await classifier.close()
    assert isinstance(first, Prediction)
    assert isinstance(second, InferenceError)
    assert isinstance(third, Prediction)


async def test_the_loop_runs_on_while_the_device_computes(minilm: Path) -> None:
    classifier = await loaded(settings(minilm))
    prepared = [
        t for t in await classifier.prepare(["word " * 500] * 16) if isinstance(t, PreparedText)
    ]
    computing = asyncio.ensure_future(classifier.classify(prepared))
    turns = 0
    while not computing.done():
        await asyncio.sleep(0.005)
        turns += 1
    await classifier.close()
    assert turns > 5


async def test_a_closed_classifier_refuses(tiny: Path) -> None:
    classifier = await loaded(settings(tiny))
    await classifier.close()
    await classifier.close()
    with pytest.raises(ModelError, match="closed"):
        await classifier.prepare(["good"])
    with pytest.raises(ModelError, match="closed"):
        await classifier.classify([])


async def test_the_identity_says_which_model_answers(tiny: Path) -> None:
    classifier = await loaded(settings(tiny, labels=["x", "y", "z"]))
    await classifier.close()
    identity = classifier.identity
    assert (identity.name, identity.backend, identity.device, identity.dtype) == (
        "tiny-bert",
        "encoder",
        "cpu",
        "float32",
    )
    assert classifier.hints.max_tokens == 64
    assert {"torch", "transformers", "tokenizers"} <= identity.versions.keys()
    assert classifier.labels.names == ("x", "y", "z")
    again = await loaded(settings(tiny, labels=["x", "y", "z"]))
    other = await loaded(settings(tiny))
    assert again.identity.digest == identity.digest != other.identity.digest
    assert other.labels.names == LABELS
    await again.close()
    await other.close()
