"""Faults of labelled data are named before a model learns them."""

from pathlib import Path

import pytest

from streamlabel.commands.training import learned_and_held
from streamlabel.errors import ConfigError
from streamlabel.quality.data_care import refuse_spellings, repeats_in
from streamlabel.quality.labelled import LabelledText, read_labelled


def texts(*rows: tuple[str, str]) -> list[LabelledText]:
    return [LabelledText(n, text, (label,)) for n, (text, label) in enumerate(rows, start=1)]


def test_labels_in_several_spellings_are_refused_with_their_counts() -> None:
    found = texts(("a", "ham"), ("b", "ham"), ("c", "Ham"), ("d", "ham "), ("e", "spam"))
    with pytest.raises(ConfigError, match="differ in case or spaces only") as caught:
        refuse_spellings(found, "train.csv")
    assert "'Ham' (1 texts), 'ham' (2 texts), 'ham ' (1 texts)" in str(caught.value)
    assert "spam" not in str(caught.value)
    refuse_spellings(texts(("a", "ham"), ("b", "spam")), "train.csv")


def test_an_unknown_label_is_named_with_the_one_that_is_meant(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("text,label\na,Ham \nb,scam\n")
    with pytest.raises(ConfigError) as caught:
        read_labelled(path, known=["ham", "spam"])
    first, second = str(caught.value).splitlines()
    assert "'Ham ' is unknown, write 'ham'; the labels are ham, spam" in first
    assert "'scam' is unknown; the labels are ham, spam" in second


def test_near_duplicates_with_other_labels_are_listed_by_line() -> None:
    found = repeats_in(
        texts(
            ("Call 555-0101 now!", "spam"),
            ("call 555 0199, NOW", "ham"),
            ("Call now", "spam"),
            ("12345", "ham"),
            ("678", "spam"),
        )
    )
    assert (found.repeated, found.contradictory) == (2, ((1, 2),))
    assert "1 of them have another label" in str(found)
    assert str(repeats_in(texts(("a", "x"), ("b", "y")))) == ""


def test_training_names_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "train.csv"
    rows = [
        f"text {'abcdefghij'[n % 10] * (n // 10 + 1)},{'ham' if n % 2 else 'spam'}"
        for n in range(40)
    ]
    path.write_text("text,label\n" + "\n".join([*rows, "text a 1,ham"]) + "\n")
    learned_and_held(path, None, seed=1)
    assert "1 texts repeat an earlier one" in capsys.readouterr().err
    path.write_text("text,label\n" + "\n".join([*rows, "other,Ham"]) + "\n")
    with pytest.raises(ConfigError, match="'Ham' "):
        learned_and_held(path, None, seed=1)
