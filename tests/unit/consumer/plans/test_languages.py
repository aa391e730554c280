"""The language of a text, and the condition that names it: real detection, our own sentences."""

import subprocess
import sys
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.config.languages import LANGUAGES, UNDETERMINED, language_problem
from streamlabel.config.settings import Settings
from streamlabel.consumer.core.records import Position, SourceRecord, TextRecord
from streamlabel.consumer.plans.languages import Languages

TEXTS = {
    "en": "The parcel arrived two days late, and nobody answered my letters.",
    "de": "Das Paket kam zwei Tage zu spät an, und niemand hat mir geantwortet.",
    "fr": "Le colis est arrivé avec deux jours de retard et personne ne m'a répondu.",
    "es": "El paquete llegó dos días tarde y nadie respondió a mis cartas.",
    "zh": "包裹晚到了两天, 而且没有人回复我的信件。",
    "ja": "荷物は二日遅れて届き、誰も手紙に返事をくれませんでした。",
    "ru": "Посылка пришла на два дня позже, и никто не ответил на мои письма.",
}


@cache
def loaded() -> Languages:
    """Loading takes a second, and hypothesis has no fixture for a module."""
    found = Languages()
    found.load()
    return found


@pytest.fixture
def languages() -> Languages:
    return loaded()


@pytest.mark.parametrize(("code", "text"), TEXTS.items())
def test_a_sentence_gets_the_code_of_its_language(
    languages: Languages, code: str, text: str
) -> None:
    assert languages.of(text) == code


@pytest.mark.parametrize("text", ["ok", "👍", "123", "!!!", "LOL", "\ud800", "a" * 5000])
def test_a_text_that_shows_no_language_is_undetermined(languages: Languages, text: str) -> None:
    assert languages.of(text) == UNDETERMINED


@given(st.text(alphabet=st.characters(codec=None), min_size=1))
def test_every_text_gets_a_known_code_and_always_the_same(text: str) -> None:
    found = loaded().of(text)
    assert language_problem(found) is None
    assert loaded().of(text) == found


def test_only_the_beginning_of_a_long_text_counts(languages: Languages) -> None:
    assert languages.of(TEXTS["en"] * 20 + TEXTS["zh"] * 1000) == "en"


def test_codes_are_equal_in_another_process(languages: Languages) -> None:
    program = (
        "from streamlabel.consumer.plans.languages import Languages\n"
        f"found = Languages(); found.load(); print([found.of(t) for t in {list(TEXTS.values())!r}])"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == str([languages.of(text) for text in TEXTS.values()])


def test_the_settings_know_the_languages_of_the_library(languages: Languages) -> None:
    assert set(languages._identifier.labels) == LANGUAGES | {"zxx"}


def test_a_language_that_the_record_has_is_kept(languages: Languages) -> None:
    source = SourceRecord(Position("texts", 0, 7), None, b"", (), 0, 0.0)
    text = TextRecord(source, "id", TEXTS["en"], 0)
    assert languages.told(text).language == "en"
    with_language = TextRecord(source, "id", TEXTS["en"], 0, language="de")
    assert languages.told(with_language) is with_language


def test_nothing_is_imported_while_no_condition_names_a_language() -> None:
    program = (
        "import sys\nimport streamlabel.consumer.service\nprint({'py3langid'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("EN", "'EN' is not the code of a language; did you mean en?"),
        (["de", "en-US"], "'en-US' is not the code of a language; did you mean en?"),
        ("zh_CN", "did you mean zh?"),
        (
            "english",
            "'english' is not the code of a language that can be detected; use a code of ISO",
        ),
        ("", "'' is not the code of a language that can be detected"),
        ("zxx", "or und for texts whose language is unknown"),
        ([], "an empty list; name a language, or remove the condition"),
    ],
)
def test_what_is_no_code_is_refused_with_a_sentence(named: Any, says: str) -> None:  # noqa: ANN401
    tasks = {"a": {"model": {"backend": "fake"}, "when": {"language": named}}}
    with pytest.raises(ValueError, match=r"language") as caught:
        Settings.model_validate({"tasks": tasks})
    assert says in str(caught.value)


@pytest.mark.parametrize("code", ["en", "zh", "und", "yue"])
def test_codes_are_taken(code: str) -> None:
    assert language_problem(code) is None


@pytest.mark.parametrize("loads", [False, True])
def test_it_says_whether_it_is_loaded(loads: bool) -> None:
    found = Languages()
    if loads:
        found.load()
    assert found.is_loaded == loads
