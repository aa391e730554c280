"""A language model's folder answers as transformers loads it, or is refused by name."""

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from streamlabel.config.model import GenerativeSettings
from streamlabel.errors import ConfigError, InferenceError, ModelLoadError
from streamlabel.models.core.classifier import Prediction
from streamlabel.models.llm.generative import GenerativeClassifier, load
from testing.tiny_models import VOCABULARY, build_tokenizer
from tests.models.test_prompts import SPAM

pytestmark = pytest.mark.model

Weights = dict[str, torch.Tensor]
MULTI = {
    "scoring": "trie",
    "labels": [{"name": "business"}, {"name": "sports"}, {"name": "sport"}],
}


def settings(folder: Path, **changes: object) -> GenerativeSettings:
    given = {"path": str(folder), "device": "cpu", "threads": 1, "max_tokens": 1024, "task": SPAM}
    return GenerativeSettings.model_validate(given | changes)


def write(weights: Weights, path: Path) -> None:
    save_file({n: t.contiguous() for n, t in weights.items()}, path, metadata={"format": "pt"})


def ask(classifier: GenerativeClassifier, *texts: str) -> list[Prediction]:
    async def run() -> list[Prediction]:
        prepared = await classifier.prepare(texts)
        usable = [text for text in prepared if not isinstance(text, InferenceError)]
        found = await classifier.classify(usable)
        await classifier.close()
        return [one for one in found if isinstance(one, Prediction)]

    return asyncio.run(run())


@pytest.fixture
def folder(tiny_llm: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_llm, tmp_path / "model"))


def test_only_the_files_that_transformers_reads_count(folder: Path) -> None:
    plain = load(settings(folder))
    weights = load_file(folder / "model.safetensors")
    other = {name: torch.randn_like(tensor) for name, tensor in weights.items()}
    for name in ("model_old", "consolidated", "model-00001-of-00002"):
        write(other, folder / f"{name}.safetensors")
    beside = load(settings(folder))
    assert beside.identity.digest == plain.identity.digest
    assert beside.identity.details["probe"] == plain.identity.details["probe"]

    names = sorted(weights)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    placed = {name: file for file, part in parts.items() for name in part}
    for file, part in parts.items():
        write({name: weights[name] for name in part}, folder / file)
    index = {"metadata": {}, "weight_map": placed}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()
    assert load(settings(folder)).identity.details["probe"] == plain.identity.details["probe"]


GONE = "model.layers.1.mlp.up_proj.weight"


def deleted(weights: Weights) -> None:
    del weights[GONE]


def left_over(weights: Weights) -> None:
    weights["model.layers.2.mlp.up_proj.weight"] = weights[GONE].clone()


def of_a_classifier(weights: Weights) -> None:
    weights["score.weight"] = torch.randn(3, 128)


def reshaped(weights: Weights) -> None:
    weights[GONE] = weights[GONE].T.clone()


def not_finite(weights: Weights) -> None:
    weights[GONE][0, 0] = float("inf")


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (deleted, GONE),
        (left_over, "model.layers.2.mlp.up_proj.weight"),
        (of_a_classifier, "score.weight"),
        (reshaped, f"{GONE} is 128 x 256 and must be 256 x 128"),
        (not_finite, GONE),
    ],
)
def test_weights_that_are_not_the_models_are_refused_by_name(
    folder: Path, damage: Callable[[Weights], None], named: str
) -> None:
    weights = load_file(folder / "model.safetensors")
    damage(weights)
    write(weights, folder / "model.safetensors")
    with pytest.raises(ModelLoadError, match=named.replace(".", r"\.")):
        load(settings(folder))


@pytest.fixture
def adapter(tiny_llm: Path, tmp_path: Path) -> Path:
    import peft

    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_llm, dtype=torch.float32)
    lora = peft.LoraConfig(r=2, target_modules=["q_proj"])
    peft.get_peft_model(model, lora).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_an_adapter_in_the_models_folder_is_refused(folder: Path, adapter: Path) -> None:
    for path in adapter.glob("adapter_*"):
        shutil.copy(path, folder)
    with pytest.raises(ModelLoadError, match=r"adapter_model\.safetensors\): merge it"):
        load(settings(folder))
    with pytest.raises(ModelLoadError, match="is only an adapter"):
        load(settings(adapter))


def lost(weights: Weights) -> None:
    del weights[min(weights)]


def foreign(weights: Weights) -> None:
    name = min(weights)
    weights[name.replace("q_proj", "o_proj")] = weights[name].clone()


def of_other_names(weights: Weights) -> None:
    for name in list(weights):
        weights[name.replace("model.layers", "decoder.layers")] = weights.pop(name)


def infinite(weights: Weights) -> None:
    for tensor in weights.values():
        tensor.fill_(float("inf"))


@pytest.mark.parametrize("damage", [lost, foreign, of_other_names, infinite])
def test_an_adapter_that_does_not_fit_is_refused(
    tiny_llm: Path, adapter: Path, damage: Callable[[Weights], None]
) -> None:
    weights = load_file(adapter / "adapter_model.safetensors")
    damage(weights)
    write(weights, adapter / "adapter_model.safetensors")
    with pytest.raises(ModelLoadError, match=r"does not fit the model|not finite"):
        load(settings(tiny_llm, adapter=str(adapter)))


def test_an_adapter_that_can_run_code_is_refused(tiny_llm: Path, adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(ConfigError, match=r"no adapter_model\.safetensors"):
        load(settings(tiny_llm, adapter=str(adapter)))


@pytest.mark.parametrize("kind", ["GPT2", "OPT"])
def test_a_text_beyond_the_table_of_positions_is_cut_also_before_long_answers(
    tmp_path: Path, kind: str
) -> None:
    tokenizer = build_tokenizer(tmp_path)
    sizes = {
        "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "max_position_embeddings": 400,
        "pad_token_id": tokenizer.pad_token_id, "bos_token_id": 0, "eos_token_id": 2,
    } | ({"ffn_dim": 32, "word_embed_proj_dim": 32} if kind == "OPT" else {})  # fmt: skip
    config = getattr(transformers, f"{kind}Config")(**sizes)
    name = {"GPT2": "GPT2LMHeadModel", "OPT": "OPTForCausalLM"}[kind]
    getattr(transformers, name)(config).save_pretrained(tmp_path)
    for task in (SPAM, MULTI):
        classifier = load(settings(tmp_path, task=task, reuse_prefix=False))
        assert classifier.hints.max_tokens == 400
        short, longer = ask(classifier, "Hello", "Hello world " * 600)
        assert [short.truncated, longer.truncated] == [False, True]
