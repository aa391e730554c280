"""The texts of the pages, in all languages."""

import re
import string
from pathlib import Path
from typing import get_args

import pytest

from streamlabel.console.store.items import Purpose, State
from streamlabel.console.web import wording
from streamlabel.console.web.wording import LANGUAGES, language_of, load_wordings
from streamlabel.consumer.routing.decision import ReviewReason

WORDINGS = load_wordings()
HERE = Path(wording.__file__).parent
SOURCES = "".join(path.read_text() for path in [*HERE.glob("*.py"), *HERE.glob("templates/*.html")])


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_every_language_has_the_same_texts_with_the_same_places() -> None:
    english = WORDINGS["en"].texts
    for language in LANGUAGES:
        texts = WORDINGS[language].texts
        assert texts.keys() == english.keys(), language
        assert {n: places(t) for n, t in texts.items()} == {
            n: places(t) for n, t in english.items()
        }


def test_every_text_that_a_page_names_is_there() -> None:
    named = set(re.findall(r"\bt\('(\w+)'[,)]", SOURCES)) | set(
        re.findall(r'\bt\("(\w+)"[,)]', SOURCES)
    )
    assert named
    assert named <= WORDINGS["en"].texts.keys()


@pytest.mark.parametrize(
    ("prefix", "names"),
    [("reason", ReviewReason), ("state", State), ("purpose", Purpose)],
)
def test_every_word_of_a_closed_set_has_a_text(prefix: str, names: object) -> None:
    assert {f"{prefix}_{name}" for name in get_args(names)} <= WORDINGS["en"].texts.keys()


@pytest.mark.parametrize(
    ("chosen", "accepted", "language"),
    [
        (None, "", "en"),
        (None, "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        (None, "de-DE, ZH-Hant;q=0.5", "zh"),
        (None, "de,fr", "en"),
        ("en", "zh", "en"),
        ("xx", "zh", "zh"),
    ],
)
def test_the_language_is_the_chosen_one_or_that_of_the_browser(
    chosen: str | None, accepted: str, language: str
) -> None:
    assert language_of(chosen=chosen, accepted=accepted) == language
