"""Item 4: a copy is no evidence, and neither is a text that the model was trained on."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.errors import ConfigError
from streamlabel.quality.labelled import LabelledText, plain
from streamlabel.quality.repeated import FILE_NAME, distinct, read_seen, trained_on, write_seen


def texts(*contents: str, label: str = "ham") -> list[LabelledText]:
    return [LabelledText(line, content, (label,)) for line, content in enumerate(contents, 1)]


CONTENTS = st.lists(st.text(st.characters(codec=None), min_size=1), max_size=12)


@given(contents=CONTENTS, copies=st.integers(1, 4))
def test_item_4_copies_of_a_file_are_the_file(contents: list[str], copies: int) -> None:
    once, several = distinct(texts(*contents)), distinct(texts(*contents * copies))
    assert [t.text for t in once.texts] == [t.text for t in several.texts]
    assert len(once.texts) + once.repeated == len(contents)
    assert len({plain(text.text) for text in once.texts}) == len(once.texts)


def test_item_4_equal_texts_with_other_labels_are_named_and_the_first_counts() -> None:
    rows = [*texts("Win  now", "hello"), LabelledText(3, "win now", ("spam",))]
    found = distinct(rows)
    assert [text.labels for text in found.texts] == [("ham",), ("ham",)]
    assert (found.repeated, found.contradictory) == (1, ((1, 3),))


@given(trained=CONTENTS, held=CONTENTS, new=CONTENTS)
def test_item_4_a_model_folder_recognizes_what_it_was_trained_on_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory,
    trained: list[str],
    held: list[str],
    new: list[str],
) -> None:
    folder = tmp_path_factory.mktemp("model")
    write_seen(folder, trained, held)
    found, chose = trained_on(texts(*trained, *held, *new), read_seen([folder]))
    learned, kept = ({plain(text) for text in part} for part in (trained, held))
    assert {plain(text.text) for text in found} == learned
    assert {plain(text.text) for text in chose} == kept - learned


def test_item_4_the_file_has_no_text_and_another_key_each_time(tmp_path: Path) -> None:
    secret = "a text that nobody else should read"
    contents = []
    for _ in range(2):
        write_seen(tmp_path, [secret], [])
        contents.append((tmp_path / FILE_NAME).read_text())
    assert not any(word in content for content in contents for word in ("nobody", "should"))
    one, other = (json.loads(content)["trainings"][0] for content in contents)
    assert one["key"] != other["key"]
    assert one["trained"] != other["trained"]


def test_item_4_a_model_that_began_with_another_one_knows_the_texts_of_both(tmp_path: Path) -> None:
    base, folder = tmp_path / "base", tmp_path / "model"
    base.mkdir()
    folder.mkdir()
    write_seen(base, ["first"], [])
    write_seen(folder, ["second"], [], base=base)
    found, _ = trained_on(texts("First", "second", "third"), read_seen([folder]))
    assert [text.line for text in found] == [1, 2]


def test_item_4_a_folder_that_says_nothing_is_fine_and_a_broken_file_is_refused(
    tmp_path: Path,
) -> None:
    assert read_seen([tmp_path, tmp_path / "gone", tmp_path / "a/hub-id"]) == []
    (tmp_path / FILE_NAME).write_text("{}")
    with pytest.raises(ConfigError, match="is no list of training texts; train again"):
        read_seen([tmp_path])
