"""A base from scratch: its tokenizer knows the language, and an encoder is trained from it."""

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer
from typer.testing import CliRunner

from streamlabel.__main__ import app
from streamlabel.errors import ConfigError
from streamlabel.training.new_base import make_base, unknown_share
from tests.models.tiny import build_model

pytestmark = pytest.mark.model

GOOD, BAD = "好棒喜欢满意推荐", "差坏退货失望破损"


def texts() -> list[tuple[str, str]]:
    """Return our own short Chinese reviews; characters above 0x4e00 make a vocabulary."""
    rows = []
    for number in range(240):
        words = GOOD if number % 2 else BAD
        filler = "".join(chr(0x4E00 + (number * 7 + i) % 300) for i in range(12))
        rows.append((words[number % 4 :] + filler, "good" if number % 2 else "bad"))
    return rows


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    lines = [json.dumps({"text": text, "label": label}) for text, label in texts()]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.timeout(120)
def test_a_base_and_an_encoder_are_made_by_two_commands(data: Path, tmp_path: Path) -> None:
    base, out = tmp_path / "base", tmp_path / "model"
    made = CliRunner().invoke(app, ["train", "base", "--data", str(data), "--out", str(base)])
    assert made.exit_code == 0, made.output
    assert "weights random" in made.stderr
    options = ["--epochs", "1", "--learning-rate", "3e-3", "--label-smoothing", "0.05"]
    done = CliRunner().invoke(
        app,
        ["train", "encoder", "--data", str(data), "--base", str(base), "--out", str(out), *options],
    )
    assert done.exit_code == 0, (done.output, done.exception)
    assert "does not know" not in done.stderr
    assert "| yes |" in (out / "README.md").read_text()
    again = CliRunner().invoke(app, ["train", "base", "--data", str(data), "--out", str(base)])
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr


def test_its_tokenizer_knows_the_texts_and_an_english_one_does_not(tmp_path: Path) -> None:
    rows = [text for text, _ in texts()]
    make_base(rows, tmp_path / "base")
    assert unknown_share(tmp_path / "base", rows) < 0.01
    english = build_model(tmp_path / "english")
    assert unknown_share(english, rows) > 0.5
    assert AutoTokenizer.from_pretrained(tmp_path / "base").unk_token == "[UNK]"


def test_too_few_texts_for_a_vocabulary_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="thousands of texts of the language"):
        make_base(["hello"] * 20, tmp_path / "base")
    assert not (tmp_path / "base").exists()


def test_a_base_that_does_not_know_the_script_is_named(data: Path, tmp_path: Path) -> None:
    english = build_model(tmp_path / "english")
    done = CliRunner().invoke(
        app,
        ["train", "encoder", "--data", str(data), "--base", str(english), "--epochs", "1",
         "--out", str(tmp_path / "m"), "--trained-layers", "0"],
    )  # fmt: skip
    assert done.exit_code == 0, (done.output, done.exception)
    assert "% of the tokens of these texts, probably their script" in done.stderr
