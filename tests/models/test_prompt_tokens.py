"""Control tokens come from the operator, never from a text, whatever the tokenizer is like."""

import json

import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from streamlabel.errors import ModelLoadError
from streamlabel.models.prompts.prompt_tokens import PromptTokenizer

pytestmark = pytest.mark.model

LETTERS = [*"abcdefgh<>|/ "]


def word_level(*added: AddedToken) -> Tokenizer:
    """Characters are tokens; the added ones are whatever the test needs."""
    tokenizer = Tokenizer(
        models.BPE(vocab={c: i for i, c in enumerate(LETTERS)}, merges=[], unk_token=None)
    )
    tokenizer.add_tokens(list(added))
    return tokenizer


def test_added_words_and_spaces_are_no_control_tokens() -> None:
    backend = word_level(AddedToken("bad", special=False), AddedToken("    ", special=False))
    tokenizer = PromptTokenizer(backend.to_str())
    assert tokenizer.controls == {}
    assert tokenizer.plain("bad").ids == tokenizer.trusted("bad").ids
    assert len(tokenizer.plain("bad    a").ids) == 3


@pytest.mark.parametrize("special", [True, False])
def test_control_tokens_of_a_text_are_its_characters(*, special: bool) -> None:
    tokenizer = PromptTokenizer(word_level(AddedToken("<a>", special=special)).to_str())
    assert tokenizer.trusted("b<a>").ids == (1, len(LETTERS))
    assert tokenizer.plain("b<a>").ids == tuple(LETTERS.index(c) for c in "b<a>")
    assert tokenizer.controls_in("b<a>c") == ["<a>"]


def test_merges_that_spell_a_control_token_are_undone() -> None:
    """In some vocabularies a control token is also a word that characters merge to."""
    vocabulary = {c: i for i, c in enumerate([*LETTERS, "<a", "<a>"])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[("<", "a"), ("<a", ">")]))
    backend.add_special_tokens([AddedToken("<a>", special=True)])
    tokenizer = PromptTokenizer(backend.to_str())
    tokens = tokenizer.plain("b<a>c")
    assert tokens.ids == tuple(LETTERS.index(c) for c in "b<a>c")
    assert tokens.spans == tuple((i, i + 1) for i in range(5))


def test_a_text_behind_a_control_token_gets_no_leading_space() -> None:
    """SentencePiece puts one before the first word of a prompt, and only there."""
    vocabulary = {c: i for i, c in enumerate([*LETTERS, "▁"])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    backend.add_special_tokens([AddedToken("<a>", special=True, normalized=False)])
    tokenizer = PromptTokenizer(backend.to_str())
    joint = tokenizer.trusted("<a>bc d").ids
    assert tokenizer.plain("bc d").ids == joint[-4:]
    assert tokenizer.trusted("bc").ids[0] == vocabulary["▁"]


def test_an_authors_truncation_and_padding_are_forgotten() -> None:
    backend = word_level()
    backend.enable_truncation(3)
    backend.enable_padding(length=8)
    assert len(PromptTokenizer(backend.to_str()).plain("abcdef").ids) == 6


@pytest.mark.parametrize(("text", "ids"), [("a\ud800b", (0, 1)), ("\ud83d\ude00", ())])
def test_surrogates_are_taken(text: str, ids: tuple[int, ...]) -> None:
    assert PromptTokenizer(word_level().to_str()).plain(text).ids == ids


def test_what_is_no_tokenizer_is_refused() -> None:
    with pytest.raises(ModelLoadError, match="not a fast one"):
        PromptTokenizer("nonsense")
    assert json.loads(word_level().to_str())["version"]
