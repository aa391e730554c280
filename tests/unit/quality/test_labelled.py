"""A labelled file is read as a whole, or refused with the lines to mend."""

import json
from pathlib import Path

import pytest

from streamlabel.errors import ConfigError
from streamlabel.models.core.turns import Turn, read_turns
from streamlabel.quality.labelled import (
    LabelledText,
    labels_in,
    read_labelled,
    refuse_conversations,
    refuse_overlap,
    refuse_single_class,
)

KNOWN = ("ham", "spam")


def written(folder: Path, content: str, name: str = "dev.jsonl") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def test_json_lines_and_csv_say_the_same(tmp_path: Path) -> None:
    lines = '{"id": "1", "text": "a, b", "label": "ham"}\n\n{"text": "c", "label": "spam"}\n'
    table = 'id,text,label\n1,"a, b",ham\n,c,spam\n'
    json, csv = written(tmp_path, lines), written(tmp_path, "\ufeff" + table, "dev.csv")
    found = read_labelled(json, known=KNOWN)
    assert found == [LabelledText(1, "a, b", ("ham",), "1"), LabelledText(3, "c", ("spam",))]
    assert [(t.text, t.labels) for t in read_labelled(csv)] == [(t.text, t.labels) for t in found]
    assert labels_in(found) == KNOWN


def test_several_labels_are_a_list_or_separated_in_a_cell(tmp_path: Path) -> None:
    json = written(tmp_path, '{"text": "a", "labels": ["x", "y"]}\n{"text": "b", "labels": []}\n')
    csv = written(tmp_path, "text,labels\na,x|y\nb,\n", "dev.csv")
    for path in (json, csv):
        assert [t.labels for t in read_labelled(path, several=True)] == [("x", "y"), ()]
    with pytest.raises(ConfigError, match="line 1: 2 labels, but the task has exactly one"):
        read_labelled(json)


def test_every_bad_line_is_named_with_what_is_wrong(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        '{"text": "fine", "label": "ham"}\n'
        '{"text": "a"}\n'
        '{"label": "ham"}\n'
        '{"text": "  ", "label": "ham"}\n'
        '{"text": "a", "label": "egg"}\n'
        '{"text": "a", "label": 3}\n'
        "not json\n"
        '["text"]\n',
    )
    with pytest.raises(ConfigError) as caught:
        read_labelled(path, known=KNOWN)
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines] == [f"dev.jsonl, line {n}" for n in range(2, 9)]
    for line, part in zip(
        lines,
        ['"label" is missing', '"text" is missing', "empty",
         "'egg' is unknown; the labels are ham, spam",
         "a label must be a string", "no JSON", "not an object"],
        strict=True,
    ):  # fmt: skip
        assert part in line


def test_a_file_made_wrong_shows_ten_lines_and_counts_the_rest(tmp_path: Path) -> None:
    path = written(tmp_path, '{"text": "a"}\n' * 25)
    with pytest.raises(ConfigError) as caught:
        read_labelled(path)
    assert len(str(caught.value).splitlines()) == 11
    assert "15 more lines" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("", "dev.jsonl", "no labelled text"),
        ("a", "dev.txt", r"name it \.jsonl"),
        ("body,label\na,ham\n", "dev.csv", "no column 'text' in its header row, but body, label"),
        ("text,label\na,ham\nb\n", "dev.csv", "line 3: 1 columns instead of 2"),
    ],
)
def test_a_file_that_is_something_else_is_refused(
    tmp_path: Path, content: str, name: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read_labelled(written(tmp_path, content, name))


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.jsonl: cannot be read"):
        read_labelled(tmp_path / "gone.jsonl")


def texts(*values: str) -> list[LabelledText]:
    return [LabelledText(i, value, ("ham",)) for i, value in enumerate(values, start=1)]


def test_texts_that_were_trained_on_may_not_measure() -> None:
    train, dev = Path("train.jsonl"), Path("dev.jsonl")
    refuse_overlap(texts("a", "b"), dev, texts("c"), train)
    with pytest.raises(ConfigError, match=r"dev\.jsonl, line 2 is train\.jsonl, line 1"):
        refuse_overlap(texts("x", "Hello  there"), dev, texts("hello there\n"), train)


def test_one_class_only_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"all 2 texts have the same label \(ham\)"):
        refuse_single_class(texts("a", "b"), Path("dev.jsonl"))


def test_messages_are_a_conversation(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"messages": ["a", "b"], "label": "x"},
        {"messages": [{"role": "assistant", "content": "b"}], "label": "y"},
        {"text": "plain", "label": "x"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pair, turn, plain = read_labelled(path)
    assert read_turns(pair.text) == (Turn("user", "a"), Turn("assistant", "b"))
    assert read_turns(turn.text) == (Turn("assistant", "b"),)
    assert [text.has_messages for text in (pair, turn, plain)] == [True, True, False]


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], '"messages": there are no turns'),
        (["a", " "], "the last turn is empty; remove the line"),
        ([{"role": "system", "content": "a"}], '"messages": turn 1 has no role user or assistant'),
        ("a", '"messages" is not a list of turns; write JSON lines'),
    ],
)
def test_messages_that_are_none_are_named(tmp_path: Path, messages: object, said: str) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"messages": messages, "label": "x"}))
    with pytest.raises(ConfigError) as raised:
        read_labelled(path)
    assert f"pairs.jsonl, line 1: {said}" in str(raised.value)


def test_conversations_are_refused_where_single_texts_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    singles = ["plain", "[1, 2]", '[{"role": "user", "content": "one turn"}]', '[{"a": 1}]']
    refuse_conversations(
        [LabelledText(n, text, ("x",)) for n, text in enumerate(singles)], path, why="no"
    )
    pair = '[{"role":"user","content":"a"},{"role":"user","content":"b"}]'
    for text in (LabelledText(7, pair, ("x",)), LabelledText(7, "a", ("x",), has_messages=True)):
        with pytest.raises(ConfigError, match=r"x\.jsonl, line 7: the text is a conversation; no"):
            refuse_conversations([text], path, why="no")
