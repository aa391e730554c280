"""Texts from verdicts: each with its text, its labels and the weight of its review."""

import json
from pathlib import Path

import pytest

from streamlabel.errors import ConfigError
from streamlabel.learning.verdict_texts import verdict_texts
from streamlabel.quality.labelled import read_labelled
from tests.unit.learning.test_monitor import verdict


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.jsonl"
    rows = [{"id": verdict(i).id, "task": verdict(i).task, "text": f"text {i}"} for i in range(4)]
    rows[2]["text_truncated"] = "yes"
    path.write_text("no JSON\n" + "".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_decided_first_looks_with_a_text_are_used_and_the_others_counted(
    tmp_path: Path, reviews: Path
) -> None:
    path = tmp_path / "verdicts.jsonl"
    given = [
        verdict(0, labels=["spam"], action="correct", review_probability=0.02),
        verdict(1, labels=None, action="skip"),
        verdict(2, labels=["spam"]),
        verdict(9, labels=["spam"]),
    ]
    path.write_bytes(b"".join(each.encoded() + b"\n" for each in given))
    found = verdict_texts(path, reviews)
    [text] = found.texts
    assert (text.text, text.labels, text.weight) == ("text 0", ("spam",), 50.0)
    assert (found.without_text, found.undecided) == (2, 1)


def test_verdicts_without_any_text_are_refused_with_what_to_do(
    tmp_path: Path, reviews: Path
) -> None:
    path = tmp_path / "verdicts.jsonl"
    path.write_bytes(verdict(9, labels=["spam"]).encoded())
    with pytest.raises(ConfigError, match="tail review --json"):
        verdict_texts(path, reviews)


def test_files_of_texts_may_have_weights(tmp_path: Path) -> None:
    rows = tmp_path / "texts.csv"
    rows.write_text("text,label,weight\na,x,2.5\nb,y,\n")
    assert [text.weight for text in read_labelled(rows)] == [2.5, 1.0]
    rows.write_text("text,label,weight\na,x,-1\nb,y,nan\n")
    with pytest.raises(ConfigError, match=r"line 2.*weight.*above 0(?s:.*)line 3"):
        read_labelled(rows)
