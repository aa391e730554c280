"""Whatever lies in a model folder: we answer as plain transformers does, or refuse it by name."""

import asyncio
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from transformers import CONFIG_MAPPING, AutoModelForSequenceClassification

from streamlabel.config.model import EncoderSettings
from streamlabel.errors import ConfigError, InferenceError, ModelLoadError
from streamlabel.models.core.classifier import Prediction
from streamlabel.models.encoder.classifier import EncoderClassifier, load
from streamlabel.models.files.row_limit import table_limit
from streamlabel.models.tokens.rows import Rows
from tests.models.tiny import PlainTransformers, build_model

pytestmark = [
    pytest.mark.model,
    # of transformers' DeBERTa
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning"),
]

KINDS = (
    "Bert", "Roberta", "DistilBert", "MPNet", "Electra", "Albert", "DebertaV2", "GPT2",
    "XLMRoberta", "ModernBert",
)  # fmt: skip
TEXTS = ("the match was good", "rain", "a bad stock ! 好")
LAYERS = {"DistilBert": "n_layers", "GPT2": "n_layer"}


@dataclass(frozen=True, slots=True)
class Damaged:
    """What was done to a folder.

    Attributes:
        named: the refusal has one of these words in it.
        must_load: transformers loads it without a word about new random weights.
    """

    named: tuple[str, ...] = ()
    must_load: bool = False


Change = Callable[[Path, random.Random], Damaged]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return {name: t.clone() for name, t in load_file(folder / "model.safetensors").items()}


def write(weights: dict[str, torch.Tensor], path: Path) -> None:
    save_file({n: t.contiguous() for n, t in weights.items()}, path, metadata={"format": "pt"})


def edit(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def pick(folder: Path, rng: random.Random) -> tuple[dict[str, torch.Tensor], str]:
    weights = weights_of(folder)
    return weights, rng.choice(sorted(weights))


def nothing(folder: Path, rng: random.Random) -> Damaged:
    return Damaged(must_load=True)


def stray_files(folder: Path, rng: random.Random) -> Damaged:
    other = {name: torch.randn_like(t) for name, t in weights_of(folder).items()}
    for name in ("model_old", "model2", "model-00001-of-00002", "consolidated", "0"):
        write(other, folder / f"{name}.safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"not looked at")
    return Damaged(must_load=True)


def sharded(folder: Path, rng: random.Random) -> Damaged:
    weights = weights_of(folder)
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    placed = {name: rng.choice(names) for name in weights}
    for file in names:
        write({n: t for n, t in weights.items() if placed[n] == file}, folder / file)
    write({n: torch.randn_like(t) for n, t in weights.items()}, folder / "model-3.safetensors")
    index = {"metadata": {"total_size": 0}, "weight_map": placed}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()
    return Damaged(must_load=True)


def index_beside_the_file(folder: Path, rng: random.Random) -> Damaged:
    whole = weights_of(folder)
    sharded(folder, rng)
    write({n: torch.randn_like(t) for n, t in whole.items()}, folder / "model.safetensors")
    return Damaged(must_load=True)


def shard_missing(folder: Path, rng: random.Random) -> Damaged:
    sharded(folder, rng)
    (folder / "model-00002-of-00002.safetensors").unlink()
    return Damaged(("model-00002-of-00002.safetensors",))


def another_file_named(folder: Path, rng: random.Random) -> Damaged:
    other = {name: torch.randn_like(t) for name, t in weights_of(folder).items()}
    write(other, folder / "other.safetensors")
    edit(folder, transformers_weights="other.safetensors")
    return Damaged(must_load=True)


def variant_only(folder: Path, rng: random.Random) -> Damaged:
    (folder / "model.safetensors").rename(folder / "model.fp16.safetensors")
    return Damaged(("model.fp16.safetensors",))


def adapter_beside(folder: Path, rng: random.Random) -> Damaged:
    weights, name = pick(folder, rng)
    write({f"base_model.model.{name}": weights[name]}, folder / "adapter_model.safetensors")
    if rng.random() < 0.5:
        (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    return Damaged(("adapter_model.safetensors",))


def deleted(folder: Path, rng: random.Random) -> Damaged:
    weights, name = pick(folder, rng)
    del weights[name]
    write(weights, folder / "model.safetensors")
    return Damaged((name,))


def renamed(folder: Path, rng: random.Random) -> Damaged:
    weights, name = pick(folder, rng)
    weights[f"{name}_v2"] = weights.pop(name)
    write(weights, folder / "model.safetensors")
    return Damaged((name,))


def reshaped(folder: Path, rng: random.Random) -> Damaged:
    weights, name = pick(folder, rng)
    weights[name] = torch.cat([weights[name], weights[name]])
    write(weights, folder / "model.safetensors")
    return Damaged((name,))


def not_finite(folder: Path, rng: random.Random) -> Damaged:
    weights, name = pick(folder, rng)
    weights[name].flatten()[-1] = rng.choice([float("nan"), float("inf"), float("-inf")])
    write(weights, folder / "model.safetensors")
    return Damaged((name,))


def left_over(folder: Path, rng: random.Random) -> Damaged:
    weights = weights_of(folder)
    weights["extra.adapter.weight"] = torch.randn(3, 3)
    write(weights, folder / "model.safetensors")
    return Damaged(("extra.adapter.weight",))


def layers_left_over(folder: Path, rng: random.Random) -> Damaged:
    kind = json.loads((folder / "config.json").read_text())["architectures"][0]
    name = LAYERS.get(kind.removesuffix("ForSequenceClassification"), "num_hidden_layers")
    edit(folder, **{name: 1})
    return Damaged((".1.", "num_hidden_layers"))  # a layer's number


def another_width(folder: Path, rng: random.Random) -> Damaged:
    edit(folder, vocab_size=200)
    return Damaged(("embeddings", "wte"))


def table_shorter_than_said(folder: Path, rng: random.Random) -> Damaged:
    config = json.loads((folder / "config.json").read_text())
    edit(folder, **{n: 256 for n in ("max_position_embeddings", "n_positions") if n in config})
    return Damaged(("position_embeddings", "wpe", "rel_embeddings"))


def other_types(folder: Path, rng: random.Random) -> Damaged:
    kind = rng.choice([torch.float16, torch.bfloat16, torch.float64])
    write({n: t.to(kind) for n, t in weights_of(folder).items()}, folder / "model.safetensors")
    return Damaged(must_load=True)


def whole_numbers(folder: Path, rng: random.Random) -> Damaged:
    weights, name = pick(folder, rng)
    weights[name] = weights[name].to(torch.int8)
    write(weights, folder / "model.safetensors")
    return Damaged((name,))


def what_transformers_ignores(folder: Path, rng: random.Random) -> Damaged:
    weights = weights_of(folder)
    prefix = next((n.partition(".")[0] for n in weights if ".embeddings." in n), None)
    if prefix is not None:
        weights[f"{prefix}.embeddings.position_ids"] = torch.arange(64)[None]
        weights[f"{prefix}.unused.pooler.dense.weight"] = torch.randn(3, 3)
    weights["cls.predictions.bias"] = torch.randn(7)
    write(weights, folder / "model.safetensors")
    return Damaged(must_load=True)


def older_names(folder: Path, rng: random.Random) -> Damaged:
    def old(name: str) -> str:
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma")
        return name.replace("LayerNorm.bias", "LayerNorm.beta")

    write({old(name): t for name, t in weights_of(folder).items()}, folder / "model.safetensors")
    return Damaged(must_load=True)


def no_pretty_labels(folder: Path, rng: random.Random) -> Damaged:
    names = rng.choice([None, ["a", "b"], {"0": "a", "2": "b"}, {"0": "a", "1": "a", "2": "b"},
                        {"0": None, "1": "a", "2": "b"}, {"x": "a"}])  # fmt: skip
    edit(folder, id2label=names, num_labels=3)
    return Damaged(("id2label", "LABEL_0"))


def two_names_for_three(folder: Path, rng: random.Random) -> Damaged:
    edit(folder, id2label={"0": "ham", "1": "spam"}, label2id={"ham": 0, "spam": 1})
    return Damaged(("classifier", "score", "out_proj"))


def tuple_answers(folder: Path, rng: random.Random) -> Damaged:
    edit(folder, return_dict=False)
    return Damaged(must_load=True)


CHANGES: tuple[Change, ...] = (
    nothing, stray_files, sharded, index_beside_the_file, shard_missing, another_file_named,
    variant_only, adapter_beside, deleted, renamed, reshaped, not_finite, left_over,
    layers_left_over, another_width, table_shorter_than_said, other_types, whole_numbers,
    what_transformers_ignores, older_names, no_pretty_labels, two_names_for_three, tuple_answers,
)  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def build(kind: str) -> Path:
        if kind not in made:
            made[kind] = build_model(tmp_path_factory.mktemp(kind), kind, hidden_size=16)
            # The tokenizer is BERT's, whose second kind of input would mean words to GPT-2.
            path = made[kind] / "tokenizer_config.json"
            names = {"model_input_names": ["input_ids", "attention_mask"]}
            path.write_text(json.dumps(json.loads(path.read_text()) | names))
        return made[kind]

    return build


def answers(classifier: EncoderClassifier, texts: tuple[str, ...]) -> list[Prediction]:
    async def ask() -> list[Prediction]:
        prepared = await classifier.prepare(texts)
        assert not any(isinstance(text, InferenceError) for text in prepared), prepared
        found = await classifier.classify(
            [t for t in prepared if not isinstance(t, InferenceError)]
        )
        await classifier.close()
        assert not any(isinstance(one, InferenceError) for one in found), found
        return [one for one in found if isinstance(one, Prediction)]

    return asyncio.run(ask())


def logits(found: list[Prediction]) -> NDArray[np.float64]:
    return np.array([one.log_scores for one in found])


def expected(folder: Path) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    plain = PlainTransformers(folder)
    plain.model.config.return_dict = True
    names = plain.model.config.id2label
    rows = [plain.logits(text)[0].double().numpy() for text in TEXTS]
    return np.stack(rows), tuple(str(names[i]) for i in range(len(names)))


@pytest.mark.parametrize("kind", KINDS)
def test_any_folder_is_answered_as_transformers_does_or_refused_by_name(
    tmp_path: Path, built: Callable[[str], Path], kind: str
) -> None:
    rng = random.Random(kind)
    # all for the one that we compute ourselves, and for the others what time allows
    for change in CHANGES if kind == "Bert" else rng.sample(CHANGES, 10):
        folder = tmp_path / change.__name__
        shutil.copytree(built(kind), folder)
        damaged = change(folder, rng)
        what = f"{kind}, {change.__name__} {damaged.named}"
        try:
            classifier = load(EncoderSettings(path=str(folder), device="cpu"))
        except (ModelLoadError, ConfigError) as error:
            said = str(error)
            assert not damaged.must_load, f"{what}: {said}"
            assert any(name in said for name in damaged.named), f"{what}: {said}"
            assert "\n" not in said, what
            continue
        wanted, names = expected(folder)
        assert classifier.labels.names == names, what
        found = logits(answers(classifier, TEXTS))
        assert found.shape == wanted.shape, what
        assert np.abs(found - wanted).max() < 1e-4, what


LIMITS = {
    "Bert": 24, "Roberta": 23, "DistilBert": 24, "MPNet": 22, "Electra": 24, "Albert": 24,
    "DebertaV2": 24, "GPT2": 24, "XLMRoberta": 23, "ModernBert": 24, "Nystromformer": 24,
    "Longformer": 23,
}  # fmt: skip


@pytest.mark.parametrize("kind", LIMITS)
def test_texts_beyond_the_models_positions_are_cut_to_them(tmp_path: Path, kind: str) -> None:
    folder = build_model(tmp_path, kind, hidden_size=16, max_position_embeddings=24)
    path = folder / "tokenizer_config.json"
    content = json.loads(path.read_text())
    del content["model_max_length"]
    path.write_text(json.dumps(content))
    classifier = load(EncoderSettings(path=str(folder), device="cpu"))
    limit = LIMITS[kind]
    assert classifier.hints.max_tokens == limit
    words = ["rain"] * (limit - 2)
    texts = (" ".join(words[1:]), " ".join(words), " ".join([*words, "good"] * 40))
    shorter, full, longer = answers(classifier, texts)
    assert [one.truncated for one in (shorter, full, longer)] == [False, False, True]
    assert logits([longer]) == pytest.approx(logits([full]), abs=1e-4)
    one_more = np.full(limit + 1, 9, dtype=np.int32)
    if kind != "ModernBert":  # no table
        with pytest.raises((IndexError, RuntimeError)):
            classifier._forward.logits([one_more])


def test_a_row_that_the_model_cannot_take_is_found_at_start(tmp_path: Path) -> None:
    folder = build_model(tmp_path, "ModernBert", hidden_size=16)
    with pytest.raises(ConfigError, match=r"model\.max_tokens: 65 is more than the model's 64"):
        load(EncoderSettings(path=str(folder), device="cpu", max_tokens=65))


def test_an_adapter_is_served_after_the_merge_that_the_page_shows(
    tmp_path: Path, built: Callable[[str], Path]
) -> None:
    peft = pytest.importorskip("peft")
    base, folder = built("Bert"), tmp_path / "beside"
    shutil.copytree(base, folder)
    model = peft.get_peft_model(
        PlainTransformers(base).model,
        peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query", "value"]),
    )
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora" in name or "modules_to_save" in name:
                weight.normal_(0, 1)
    model.save_pretrained(folder)
    plain = PlainTransformers(folder)  # transformers applies it, where peft is installed
    wanted = np.stack([plain.logits(text)[0].numpy() for text in TEXTS])
    with pytest.raises(ModelLoadError, match="merge it into the weights"):
        load(EncoderSettings(path=str(folder), device="cpu"))

    alone = tmp_path / "adapter"
    alone.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.move(folder / name, alone)
    edited = json.loads((alone / "adapter_config.json").read_text())
    (alone / "adapter_config.json").write_text(
        json.dumps(edited | {"base_model_name_or_path": str(base)})
    )
    merged = peft.AutoPeftModelForSequenceClassification.from_pretrained(alone, num_labels=3)
    merged.merge_and_unload().save_pretrained(tmp_path / "merged")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(base / name, tmp_path / "merged")
    labels = ["sport", "money", "weather"]
    served = load(EncoderSettings(path=str(tmp_path / "merged"), device="cpu", labels=labels))
    assert np.abs(logits(answers(served, TEXTS)) - wanted).max() < 1e-4


@pytest.mark.parametrize(
    ("kind", "config", "limit"),
    [
        ("bart", {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "pad_token_id": 1,
                  "encoder_attention_heads": 2, "decoder_attention_heads": 2, "eos_token_id": 3,
                  "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}, 24),
        ("opt", {"ffn_dim": 16, "word_embed_proj_dim": 16, "pad_token_id": 1}, 24),
        ("ctrl", {"dff": 16, "pad_token_id": 1}, 24),
        ("esm", {"pad_token_id": 1}, 22),
        ("megatron-bert", {}, 24),
        ("llama", {}, None),
        ("bloom", {"pad_token_id": 3}, None),
        ("xlnet", {"d_inner": 16, "d_head": 8}, None),
    ],
)  # fmt: skip
def test_a_table_is_found_wherever_an_architecture_has_it(
    kind: str, config: dict[str, object], limit: int | None
) -> None:
    sizes: dict[str, object] = {
        "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 16, "vocab_size": 64, "max_position_embeddings": 24,
    }  # fmt: skip
    if kind == "xlnet":  # its configuration refuses to be told
        del sizes["max_position_embeddings"]
    model = AutoModelForSequenceClassification.from_config(
        CONFIG_MAPPING[kind](**(sizes | config)), dtype=torch.float32
    ).eval()

    def compute(rows: Rows) -> None:
        with torch.inference_mode():
            model(torch.from_numpy(np.stack(rows).astype(np.int64)))

    assert table_limit(compute, (2,), (3,), token=9) == limit
    if limit is not None:
        compute([np.array([2, *[9] * (limit - 2), 3])])
        with pytest.raises((IndexError, RuntimeError)):
            compute([np.array([2, *[9] * (limit - 1), 3])])
