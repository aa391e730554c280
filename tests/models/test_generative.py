"""One-token answers equal what transformers computes for one text at a time."""

import asyncio
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from streamlabel.config.model import GenerativeSettings
from streamlabel.config.settings import Settings
from streamlabel.consumer.plans.deployment_id import deployment_id
from streamlabel.errors import ConfigError, InferenceError, ModelError, ModelLoadError
from streamlabel.models.core.classifier import Prediction, PreparedText
from streamlabel.models.label_scoring.label_tokens import LabelTokens
from streamlabel.models.label_scoring.taught_prompt import store_prompt
from streamlabel.models.llm.causal_model import CausalModel
from streamlabel.models.llm.generative import GenerativeClassifier, load
from streamlabel.models.llm.prompt_reader import PromptReader
from streamlabel.models.tokens.rows import Rows
from tests.models.test_prompts import FORGERIES, SPAM

pytestmark = pytest.mark.model

CLOSE = 1e-4
Property = Callable[[str, object], None]
TEXTS = [
    "Hello",
    "You have won a prize! Call now.",
    "酒店很干净，服务很好。",  # noqa: RUF001 Chinese comma
    "1",
    "",
    *(f"{'blah ' * n}{n}" for n in range(1, 80, 4)),
    *FORGERIES,
]


def settings(folder: Path, **changes: object) -> GenerativeSettings:
    given: dict[str, object] = {
        "path": str(folder),
        "device": "cpu",
        "threads": 1,
        "max_tokens": 1024,
        "task": SPAM,
    }
    return GenerativeSettings.model_validate(given | changes)


@pytest.fixture(scope="module")
def classifier(tiny_llm: Path) -> GenerativeClassifier:
    return load(settings(tiny_llm))


@pytest.fixture(scope="module")
def hf(tiny_llm: Path) -> transformers.PreTrainedModel:
    return transformers.AutoModelForCausalLM.from_pretrained(tiny_llm, dtype=torch.float32).eval()


async def predictions(
    classifier: GenerativeClassifier, texts: Sequence[str], *, together: bool = True
) -> list[Prediction]:
    prepared = []
    for outcome in await classifier.prepare(texts):
        assert isinstance(outcome, PreparedText)
        prepared.append(outcome)
    if together:
        outcomes = await classifier.classify(prepared)
    else:
        outcomes = [(await classifier.classify([text]))[0] for text in prepared]
    return [outcome for outcome in outcomes if isinstance(outcome, Prediction)]


def reader_of(classifier: GenerativeClassifier) -> PromptReader:
    reader = classifier._reader
    assert isinstance(reader, PromptReader)
    return reader


def whole_row(classifier: GenerativeClassifier, text: str) -> tuple[int, ...]:
    return reader_of(classifier)._prompt.encode(text).ids


def label_scores(log_probabilities: torch.Tensor, classifier: GenerativeClassifier) -> torch.Tensor:
    reads = reader_of(classifier)._reads
    assert isinstance(reads, LabelTokens)
    forms = reads.forms
    return torch.stack([log_probabilities[list(ids)].logsumexp(0) for ids in forms])


def difference(ours: Sequence[Prediction], theirs: Sequence[Prediction]) -> float:
    return max(
        abs(a - b)
        for one, other in zip(ours, theirs, strict=True)
        for a, b in zip(one.log_scores or (), other.log_scores or (), strict=True)
    )


async def test_scores_equal_one_plain_forward_per_text(
    classifier: GenerativeClassifier,
    hf: transformers.PreTrainedModel,
    record_testsuite_property: Property,
) -> None:
    ours = await predictions(classifier, TEXTS)
    worst = 0.0
    for text, prediction in zip(TEXTS, ours, strict=True):
        with torch.inference_mode():
            logits = hf(torch.tensor([whole_row(classifier, text)])).logits[0, -1]
        expected = label_scores(logits.log_softmax(-1), classifier)
        worst = max(worst, float((expected - torch.tensor(prediction.log_scores)).abs().max()))
        assert prediction.argmax_is_label is bool(
            int(logits.argmax()) in classifier._reader._wanted
        )
        assert prediction.first_token_probability == pytest.approx(
            float(logits.softmax(-1).max()), abs=CLOSE
        )
    record_testsuite_property("forward", worst)
    assert worst <= CLOSE


async def test_scores_equal_generates_raw_logits(
    classifier: GenerativeClassifier, hf: transformers.PreTrainedModel
) -> None:
    ours = await predictions(classifier, TEXTS[:8])
    for text, prediction in zip(TEXTS, ours, strict=False):
        out = hf.generate(
            torch.tensor([whole_row(classifier, text)]),
            do_sample=False,
            max_new_tokens=1,
            output_scores=True,
            output_logits=True,
            return_dict_in_generate=True,
        )
        expected = label_scores(out.logits[0][0].log_softmax(-1), classifier)
        assert torch.allclose(expected, torch.tensor(prediction.log_scores), atol=CLOSE, rtol=0)


async def test_a_batch_equals_its_texts_alone(
    classifier: GenerativeClassifier, record_testsuite_property: Property
) -> None:
    together = await predictions(classifier, TEXTS)
    alone = await predictions(classifier, TEXTS, together=False)
    record_testsuite_property("batch", difference(together, alone))
    assert difference(together, alone) <= CLOSE


@pytest.mark.parametrize("shared", [True, False])
def test_left_padding_needs_its_mask(
    classifier: GenerativeClassifier,
    hf: transformers.PreTrainedModel,
    monkeypatch: pytest.MonkeyPatch,
    shared: bool,
    record_testsuite_property: Property,
) -> None:
    """The parity test above would see a missing mask: without it the numbers are far off."""
    prompt = reader_of(classifier)._prompt
    rows = [np.array(prompt.encode(text).ids, dtype=np.int32) for text in TEXTS[:12]]
    model = CausalModel(hf, device="cpu", pad_id=0)
    if shared:
        assert model.share(prompt.shared_ids)
        rows = [row[len(prompt.shared_ids) :] for row in rows]
    monkeypatch.setattr(
        "streamlabel.models.encoder.call_groups.plan_groups", lambda n, **_: [(0, len(n))]
    )
    wanted = list(classifier._reader._wanted)

    def read() -> np.ndarray[Any, Any]:
        firsts = model.first_tokens(rows, wanted, after_shared=shared)
        return np.array([[first.log_probability(t) for t in wanted] for first in firsts])

    alone = np.array(
        [
            [first.log_probability(t) for t in wanted]
            for row in rows
            for first in model.first_tokens([row], wanted, after_shared=shared)
        ]
    )
    assert np.abs(read() - alone).max() <= CLOSE
    padded = CausalModel._padded

    def without_mask(self: CausalModel, rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        ids, mask = padded(self, rows)
        return ids, torch.ones_like(mask)

    monkeypatch.setattr(CausalModel, "_padded", without_mask)
    wrong = float(np.abs(read() - alone).max())
    record_testsuite_property("without mask", wrong)
    assert wrong > 100 * CLOSE


async def test_sharing_the_instruction_changes_nothing(
    tiny_llm: Path, classifier: GenerativeClassifier, record_testsuite_property: Property
) -> None:
    assert classifier.identity.details["shared_prefix"].startswith("on")
    whole = await asyncio.to_thread(load, settings(tiny_llm, reuse_prefix=False))
    assert whole.identity.details["shared_prefix"] == "off"
    ours = await predictions(classifier, TEXTS)
    theirs = await predictions(whole, TEXTS)
    record_testsuite_property("shared", difference(ours, theirs))
    assert difference(ours, theirs) <= CLOSE
    short, long = (await classifier.prepare(["Hello"]))[0], (await whole.prepare(["Hello"]))[0]
    assert isinstance(short, PreparedText)
    assert isinstance(long, PreparedText)
    assert short.tokens < long.tokens / 4
    await whole.close()


async def test_a_models_other_memory_is_never_shared(tmp_path: Path) -> None:
    from testing.tiny_models import build_causal

    sliding = build_causal(tmp_path, use_sliding_window=True, sliding_window=8, max_window_layers=1)
    classifier = await asyncio.to_thread(load, settings(sliding))
    assert classifier.identity.details["shared_prefix"] == "off"
    alone = await predictions(classifier, TEXTS, together=False)
    assert difference(await predictions(classifier, TEXTS), alone) <= CLOSE
    await classifier.close()


@pytest.mark.parametrize("by", ["name", "difference"])
async def test_a_soft_cap_of_attention_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """The implementation that transformers chooses, sdpa, leaves it out without an error."""
    from testing.tiny_models import build_causal

    if by == "difference":  # whatever a configuration calls it
        monkeypatch.setattr(CausalModel, "caps_attention", property(lambda _: False))
    folder = build_causal(tmp_path, kind="Gemma2", attn_logit_softcapping=0.5, head_dim=32)
    capped = await asyncio.to_thread(load, settings(folder))
    assert capped.identity.details["attention"].startswith("eager")
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    for text, prediction in zip(TEXTS[:4], await predictions(capped, TEXTS[:4]), strict=True):
        with torch.inference_mode():
            logits = model(torch.tensor([whole_row(capped, text)])).logits[0, -1]
        truth = label_scores(logits.log_softmax(-1), capped)
        assert prediction.log_scores == pytest.approx(truth.tolist(), abs=CLOSE)
    await capped.close()


async def test_a_repetition_penalty_of_the_checkpoint_changes_nothing(
    tiny_llm: Path, tmp_path: Path, classifier: GenerativeClassifier
) -> None:
    folder = tmp_path / "penalised"
    shutil.copytree(tiny_llm, folder)
    file = folder / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"repetition_penalty": 1.1}))
    penalised = await asyncio.to_thread(load, settings(folder))
    texts = [f"{text} Yes No yes no" for text in TEXTS[:6]]
    ours, theirs = await predictions(classifier, texts), await predictions(penalised, texts)
    assert ours == theirs
    await penalised.close()


async def test_an_answer_says_all_there_is_to_say(classifier: GenerativeClassifier) -> None:
    for prediction in await predictions(classifier, TEXTS):
        assert sum(prediction.probabilities or ()) == pytest.approx(1, abs=1e-6)
        assert prediction.off_label_mass is not None
        assert 0 <= prediction.off_label_mass <= 1
        assert (prediction.off_label_token is None) is prediction.argmax_is_label
        assert not prediction.truncated
    identity = classifier.identity
    assert identity.backend == "generative"
    assert identity.dtype == "float32"
    assert len(identity.prompt_version or "") == 12
    assert len(identity.details["probe"].split()) == 3


@pytest.mark.parametrize(("excess", "truncated"), [(-1, False), (0, False), (1, True)])
@pytest.mark.parametrize("long_text", ["head_tail", "review"])
async def test_a_text_at_the_limit_is_whole_and_one_beyond_is_flagged(
    tiny_llm: Path, excess: int, *, truncated: bool, long_text: str
) -> None:
    classifier = await asyncio.to_thread(
        load, settings(tiny_llm, max_tokens=400, long_text=long_text)
    )
    around = len(whole_row(classifier, "1")) - 1
    (prediction,) = await predictions(classifier, ["1" * (400 - around + excess)])
    assert prediction.truncated is truncated
    to_review = truncated and long_text == "review"
    assert prediction.review_reasons == (("truncated",) if to_review else ())
    await classifier.close()


async def test_the_models_own_limit_lowers_max_tokens(tiny_llm: Path) -> None:
    classifier = await asyncio.to_thread(load, settings(tiny_llm, max_tokens=50_000))
    assert classifier.hints.max_tokens == 1024
    (prediction,) = await predictions(classifier, ["blah " * 100_000])
    assert prediction.truncated
    await classifier.close()


MULTI: dict[str, Any] = {
    "labels": [
        {"name": "business", "answers": ["business", "busy"]},
        {"name": "sports", "answers": ["sports"]},
        {"name": "sport", "answers": ["sport"]},
        {"name": "other", "answers": ["No"]},
    ],
}


async def test_trie_scores_equal_teacher_forcing(
    tiny_llm: Path, hf: transformers.PreTrainedModel, record_testsuite_property: Property
) -> None:
    classifier = await asyncio.to_thread(load, settings(tiny_llm, task=MULTI | {"scoring": "trie"}))
    reads = reader_of(classifier)._reads
    assert len(reads.paths) > 1
    texts = TEXTS[:10]
    worst = 0.0
    for text, prediction in zip(texts, await predictions(classifier, texts), strict=True):
        row = whole_row(classifier, text)
        for answers, ours in zip(reads.answers, prediction.log_scores or (), strict=True):
            forced = []
            for answer in answers:
                with torch.inference_mode():
                    logits = hf(torch.tensor([[*row, *answer]])).logits[0].log_softmax(-1)
                steps = zip(range(len(row) - 1, len(row) + len(answer)), answer, strict=False)
                forced.append(sum(logits[place, token] for place, token in steps))
            worst = max(worst, abs(float(torch.stack(forced).logsumexp(0)) - ours))
    record_testsuite_property("trie", worst)
    assert worst <= CLOSE
    await classifier.close()


async def test_a_trie_of_one_token_answers_equals_one_read(
    tiny_llm: Path, classifier: GenerativeClassifier
) -> None:
    trie = await asyncio.to_thread(load, settings(tiny_llm, task=SPAM | {"scoring": "trie"}))
    ours, theirs = await predictions(trie, TEXTS), await predictions(classifier, TEXTS)
    assert difference(ours, theirs) <= CLOSE
    await trie.close()


def test_answers_of_several_tokens_are_refused_at_load(tiny_llm: Path) -> None:
    with pytest.raises(ConfigError, match=r"'business'.*tokens \[.*letters.*trie"):
        load(settings(tiny_llm, task=MULTI))
    letters = load(settings(tiny_llm, task=MULTI | {"answer_with": "letters"}))
    assert letters.labels.names == ("business", "sports", "sport", "other")


async def test_an_adapter_is_merged(tiny_llm: Path, tmp_path: Path) -> None:
    import peft

    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_llm, dtype=torch.float32)
    lora = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])
    adapted = peft.get_peft_model(model, lora)
    torch.manual_seed(3)
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.2)
    adapted.save_pretrained(tmp_path)
    classifier = await asyncio.to_thread(load, settings(tiny_llm, adapter=str(tmp_path)))
    plain = await asyncio.to_thread(load, settings(tiny_llm))
    assert classifier.identity.digest != plain.identity.digest
    ours = await predictions(classifier, TEXTS[:6])
    assert difference(ours, await predictions(plain, TEXTS[:6])) > 100 * CLOSE
    for text, prediction in zip(TEXTS, ours, strict=False):
        with torch.inference_mode():
            logits = adapted.eval()(torch.tensor([whole_row(classifier, text)])).logits[0, -1]
        expected = label_scores(logits.log_softmax(-1), classifier)
        assert torch.allclose(expected, torch.tensor(prediction.log_scores), atol=CLOSE, rtol=0)


async def test_another_version_in_the_same_folder_is_another_model_and_the_one_before_stays(
    tiny_llm: Path, tmp_path: Path
) -> None:
    """A swap loads the new version beside the old one, which still answers what was read before."""
    import peft

    def save(seed: int) -> None:
        model = transformers.AutoModelForCausalLM.from_pretrained(tiny_llm, dtype=torch.float32)
        lora = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])
        adapted = peft.get_peft_model(model, lora)
        torch.manual_seed(seed)
        for name, weight in adapted.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(weight, std=0.2)
        adapted.save_pretrained(tmp_path / "adapter")

    at = settings(tiny_llm, adapter=str(tmp_path / "adapter"))
    await asyncio.to_thread(save, 1)
    first = await asyncio.to_thread(load, at)
    before = await predictions(first, TEXTS[:6])
    await asyncio.to_thread(save, 2)
    second = await asyncio.to_thread(load, at)
    served = Settings.model_construct(model=at)  # equal: the folder's name has not changed
    ids = {deployment_id(served, {"model": each}, {}) for each in (first, second)}
    assert len(ids) == 2
    assert first.identity.digest != second.identity.digest
    assert difference(before, await predictions(second, TEXTS[:6])) > 100 * CLOSE
    assert difference(before, await predictions(first, TEXTS[:6])) == 0


def test_a_missing_adapter_is_refused(tiny_llm: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"adapter_config\.json"):
        load(settings(tiny_llm, adapter=str(tmp_path)))


async def test_a_bfloat16_model_has_a_float32_head(tiny_llm: Path) -> None:
    wide = await asyncio.to_thread(load, settings(tiny_llm, dtype="bfloat16"))
    narrow = await asyncio.to_thread(load, settings(tiny_llm, dtype="bfloat16", fp32_head=False))
    head = wide._reader._model._model.get_output_embeddings()
    assert head.weight.dtype == torch.float32
    assert wide.identity.dtype == "bfloat16"
    assert difference(await predictions(wide, TEXTS), await predictions(narrow, TEXTS)) > 0


def test_weights_that_are_not_numbers_are_refused(tiny_llm: Path, tmp_path: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_llm, dtype=torch.float32)
    with torch.no_grad():
        model.lm_head.weight[3] = float("nan")
    folder = tmp_path / "broken"
    shutil.copytree(tiny_llm, folder)
    model.save_pretrained(folder)
    with pytest.raises(ModelLoadError, match=r"not finite .* in lm_head\.weight"):
        load(settings(folder))


def test_a_folder_without_a_language_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises((ModelLoadError, ConfigError), match=r"model\.path: "):
        load(settings(tmp_path))


async def test_a_closed_classifier_says_so(tiny_llm: Path) -> None:
    classifier = await asyncio.to_thread(load, settings(tiny_llm))
    await classifier.close()
    await classifier.close()
    with pytest.raises(ModelError, match="closed"):
        await classifier.prepare(["a"])


async def test_no_text_is_an_error(classifier: GenerativeClassifier) -> None:
    outcomes = await classifier.prepare(["\ud800", "\x00", " " * 50_000, "字" * 50_000])
    assert not [outcome for outcome in outcomes if isinstance(outcome, InferenceError)]
    assert await classifier.classify([]) == []


async def test_a_forward_that_is_not_the_models_own_is_refused(
    tiny_llm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every implementation of attention: nothing that could be chosen helps."""
    real = CausalModel.served_probabilities
    monkeypatch.setattr(
        CausalModel, "served_probabilities", lambda self, row: real(self, row).roll(1)
    )
    with pytest.raises(ModelLoadError, match=r"differs by .* from that of the model's own forward"):
        await asyncio.to_thread(load, settings(tiny_llm))


def test_a_model_that_was_tuned_with_another_prompt_is_refused(
    tiny_llm: Path, tmp_path: Path, classifier: GenerativeClassifier
) -> None:
    tuned = tmp_path / "tuned"
    shutil.copytree(tiny_llm, tuned)
    store_prompt(tuned, classifier.identity.prompt_version or "")
    asyncio.run(load(settings(tuned)).close())
    store_prompt(tuned, "aaaaaaaaaaaa")
    with pytest.raises(ConfigError, match=r"was tuned with another prompt \(version aaa"):
        load(settings(tuned))
