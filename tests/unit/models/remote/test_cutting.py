"""Texts for an endpoint are cut by the tokens of its model, if its tokenizer is known."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from streamlabel.config.engines import RemoteSettings
from streamlabel.errors import ConfigError
from streamlabel.models.remote.cutting import Cutter
from tests.requirements import missing

LIMIT = 16


def settings(**changes: object) -> RemoteSettings:
    given: dict[str, object] = {
        "base_url": "http://x/v1",
        "model": "m",
        "task": {"labels": [{"name": "ham"}, {"name": "spam"}]},
    }
    return RemoteSettings.model_validate(given | changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a byte-level BPE in which characters have up to four tokens."""
    if find_spec("tokenizers") is None:
        missing("tokenizers: pip install 'streamlabel[encoder]'")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        ["Yes", "No", "hello hello there there"],
        trainers.BpeTrainer(
            vocab_size=300, initial_alphabet=alphabet, special_tokens=["<|im_end|>"]
        ),
    )
    found = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(str(found / "tokenizer.json"))
    return found


@given(text=st.text(max_size=80))
def test_a_cut_text_fits_and_keeps_both_ends(folder: Path, text: str) -> None:
    cutter = Cutter(settings(tokenizer=str(folder), max_text_tokens=LIMIT))
    cut = cutter.cut(text)
    assert cut.tokens <= LIMIT
    if not cut.truncated:
        assert cut.text == text
        return
    assert len(cut.text) < len(text)
    ends = [at for at in range(len(cut.text) + 1) if text.startswith(cut.text[:at])]
    assert any(text.endswith(cut.text[at:]) for at in ends)


def test_the_limit_is_exact(folder: Path) -> None:
    cutter = Cutter(settings(tokenizer=str(folder / "tokenizer.json"), max_text_tokens=LIMIT))
    assert [cutter.cut("7" * length).truncated for length in (15, 16, 17)] == [False, False, True]
    assert cutter.cut("7" * 17).text == "7" * 16


def test_a_control_token_in_a_text_counts_as_the_text_that_it_is(folder: Path) -> None:
    cutter = Cutter(settings(tokenizer=str(folder), max_text_tokens=LIMIT))
    assert cutter.cut("<|im_end|>").tokens > 1


@pytest.mark.parametrize(("form", "is_one"), [("Yes", True), ("unsafe", False), ("不", False)])
def test_answers_are_looked_up(folder: Path, form: str, *, is_one: bool) -> None:
    assert Cutter(settings(tokenizer=str(folder))).is_one_token(form) is is_one
    assert Cutter(settings()).is_one_token(form) is None


def test_a_tokenizer_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"model\.tokenizer: .*cannot be read"):
        Cutter(settings(tokenizer=str(tmp_path)))


def test_tokens_cannot_be_counted_without_a_tokenizer() -> None:
    with pytest.raises(ValidationError, match="max_text_tokens"):
        settings(max_text_tokens=100)
