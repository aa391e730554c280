"""The label-set compiler takes only answers that can be told apart, and names what is wrong."""

import pytest

from streamlabel.errors import ConfigError
from streamlabel.models.label_scoring.label_tokens import compile_labels

WORDS = ["Yes", "yes", "No", " No", "是", "否", "New", " York", "\n", "a", "A", "B"]


def encode(text: str) -> list[int]:
    """Longest match over WORDS, then code points: small, and merges across any border."""
    ids = []
    while text:
        word = max((w for w in WORDS if text.startswith(w)), key=len, default=text[0])
        ids.append(WORDS.index(word) if word in WORDS else 1000 + ord(word))
        text = text[len(word) :]
    return ids


def compiled(*forms: tuple[str, ...], prompt: str = "assistant\n") -> tuple[tuple[int, ...], ...]:
    names = [f"label {i}" for i in range(len(forms))]
    return compile_labels(names, forms, prompt=prompt, encode=encode).forms


def test_every_form_becomes_its_token() -> None:
    assert compiled(("Yes", "yes"), ("No", " No")) == ((0, 1), (2, 3))
    assert compiled(("是",), ("否",)) == ((4,), (5,))


def test_an_answer_of_several_tokens_is_refused_with_label_tokens_and_remedy() -> None:
    with pytest.raises(ConfigError, match=r"'label 1'.*'New York'.*2 tokens \[6, 7\]") as caught:
        compiled(("Yes",), ("New York",))
    assert "letters" in str(caught.value)
    assert "trie" in str(caught.value)


def test_labels_that_share_a_token_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'label 1' and 'label 0' share the token 2"):
        compiled(("No",), ("Yes", "No"))


def test_an_answer_that_merges_with_the_prompt_is_refused() -> None:
    with pytest.raises(ConfigError, match="merges with the end of the prompt"):
        compiled(("York",), ("Yes",), prompt="say New ")


@pytest.mark.parametrize(("count", "accepted"), [(127, True), (128, True), (129, False)])
def test_one_read_takes_128_answers(count: int, *, accepted: bool) -> None:
    forms = [(chr(0x4E00 + i),) for i in range(count)]
    if accepted:
        assert len(compiled(*forms)) == count
    else:
        with pytest.raises(ConfigError, match="129 answers, one read takes 128"):
            compiled(*forms)
