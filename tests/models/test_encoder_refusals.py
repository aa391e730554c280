"""A model that would answer at random, or not at all, is refused with one sentence."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, T5Config, T5EncoderModel

from streamlabel.config.model import EncoderSettings
from streamlabel.errors import ConfigError, ModelLoadError, StreamlabelError
from streamlabel.models.encoder.classifier import load
from tests.models.tiny import VOCABULARY, build_model, build_tokenizer

pytestmark = pytest.mark.model


def refusal(folder: Path, error: type[StreamlabelError] = ModelLoadError, **changes: object) -> str:
    settings = EncoderSettings.model_validate({"path": str(folder), "device": "cpu"} | changes)
    with pytest.raises(error) as raised:
        load(settings)
    message = str(raised.value)
    assert message.startswith("model.")
    assert "\n" not in message
    return message


def edit(folder: Path, name: str, **changes: object) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_model_without_a_head(tmp_path: Path) -> None:
    BertModel(
        BertConfig(
            vocab_size=len(VOCABULARY), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=32, id2label={0: "ham", 1: "spam"}, label2id={"ham": 0, "spam": 1},
        )
    ).save_pretrained(tmp_path)  # fmt: skip
    build_tokenizer(tmp_path)
    assert "no trained weights for classifier.bias, classifier.weight" in refusal(tmp_path)


@pytest.mark.parametrize("kind", ["Bert", "Roberta"])
def test_a_model_with_a_weight_missing(tmp_path: Path, kind: str) -> None:
    folder = build_model(tmp_path, kind, max_position_embeddings=65)
    weights = load_file(folder / "model.safetensors")
    gone = next(name for name in weights if name.endswith("layer.1.output.dense.weight"))
    del weights[gone]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert gone in refusal(folder)


def test_a_head_of_another_size(tmp_path: Path) -> None:
    folder = build_model(tmp_path)
    names = {"id2label": {"0": "ham", "1": "spam"}, "label2id": {"ham": 0, "spam": 1}}
    edit(folder, "config.json", **names)
    refusal(folder)


def test_an_architecture_without_a_classifier(tmp_path: Path) -> None:
    T5EncoderModel(
        T5Config(vocab_size=len(VOCABULARY), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    ).save_pretrained(tmp_path)
    build_tokenizer(tmp_path)
    edit(tmp_path, "config.json", model_type="clip", id2label={"0": "a", "1": "b"})
    assert "is not a sequence classifier" in refusal(tmp_path)


def test_an_unknown_architecture(tmp_path: Path) -> None:
    folder = build_model(tmp_path)
    edit(folder, "config.json", model_type="nonesuch", architectures=["NoneSuch"])
    refusal(folder)


def test_remote_code(tmp_path: Path) -> None:
    folder = build_model(tmp_path)
    edit(
        folder, "config.json", model_type="mine",
        auto_map={"AutoConfig": "mine.C", "AutoModelForSequenceClassification": "mine.M"},
    )  # fmt: skip
    (folder / "mine.py").write_text("raise SystemExit('remote code ran')")
    refusal(folder)


def test_pickled_weights(tmp_path: Path) -> None:
    folder = build_model(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "convert them to model.safetensors" in refusal(folder)


@pytest.mark.parametrize("kind", ["Bert", "ModernBert"])
def test_broken_weights(tmp_path: Path, kind: str) -> None:
    folder = build_model(tmp_path, kind)
    (folder / "model.safetensors").write_bytes(b"\xff" * 100)
    refusal(folder)


@pytest.mark.parametrize("kind", ["Bert", "ModernBert"])
def test_cut_off_weights(tmp_path: Path, kind: str) -> None:
    folder = build_model(tmp_path, kind)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    refusal(folder)


@pytest.mark.parametrize("content", ["", "{}", '{"model": 1}'])
def test_a_broken_tokenizer(tmp_path: Path, content: str) -> None:
    folder = build_model(tmp_path)
    (folder / "tokenizer.json").write_text(content)
    refusal(folder)


def test_a_tokenizer_of_another_model(tmp_path: Path) -> None:
    folder = build_model(tmp_path / "small", vocab_size=20)
    assert "has 70 tokens and the model 20" in refusal(folder).replace(str(len(VOCABULARY)), "70")


def test_placeholder_labels(tmp_path: Path) -> None:
    folder = build_model(tmp_path, labels=None)
    assert refusal(folder, ConfigError).startswith("model.labels: ")


def test_a_missing_folder(tmp_path: Path) -> None:
    folder = build_model(tmp_path / "m")
    shutil.rmtree(folder)
    assert "there is no folder" in refusal(folder, ConfigError)


@pytest.mark.parametrize("device", ["cuda", "cuda:7", "npu"])
def test_a_device_that_is_not_there(tmp_path: Path, device: str) -> None:
    import torch

    if torch.cuda.is_available() and device == "cuda":
        pytest.skip("it is there")
    folder = build_model(tmp_path)
    assert refusal(folder, ConfigError, device=device).startswith("model.device: ")


def test_windows_that_overlap_whole(tmp_path: Path) -> None:
    folder = build_model(tmp_path)
    refusal(folder, ConfigError, long_text="windows", window_stride_tokens=62)
