"""``streamlabel compare`` on files: what is joined, what is said about it, and what is refused."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from streamlabel.__main__ import app


def line(name: str, label: str | None, **more: object) -> dict[str, object]:
    return {"schema": "streamlabel.label/v1", "id": name, "label": label, **more}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The present folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, rows: Sequence[Mapping[str, object] | str]) -> None:
    texts = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    Path(name).write_text("\n".join(texts) + "\n")


def compare(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["compare", *arguments])


def report(*arguments: str) -> dict[str, object]:
    result = compare(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.stdout)
    return found


def two_models() -> None:
    """Ten records on both sides; the second model takes three hams for spam."""
    write("first.jsonl", [line(f"r{n}", "ham" if n < 8 else "spam") for n in range(10)])
    write("second.jsonl", [line(f"r{n}", "ham" if n < 5 else "spam") for n in range(10)])


@pytest.mark.usefixtures("folder")
def test_agreement_pairs_and_the_test_of_each_label() -> None:
    two_models()
    assert report("first.jsonl", "second.jsonl") == {
        "records": 10,
        "agreed": 7,
        "agreement": 0.7,
        "alone": {"first": 0, "second": 0},
        "changed": {"first": 0, "second": 0},
        "unread": {"first": 0, "second": 0},
        "labels": [  # 3 to 0: p 0.25, twice as much for two labels
            {
                "label": "ham", "first": 8, "second": 5, "only_first": 3, "only_second": 0,
                "p": pytest.approx(0.5),
            },
            {
                "label": "spam", "first": 2, "second": 5, "only_first": 0, "only_second": 3,
                "p": pytest.approx(0.5),
            },
        ],
        "disagreements": [{"first": ["ham"], "second": ["spam"], "records": 3}],
    }  # fmt: skip


@pytest.mark.usefixtures("folder")
def test_the_same_for_people() -> None:
    two_models()
    result = compare("first.jsonl", "second.jsonl")
    assert result.exit_code == 0
    assert "10 records on both sides, agreement 70.00% (7)" in result.stdout
    rows = [row.split() for row in result.stdout.splitlines()]
    assert ["ham", "8", "5", "3", "0", "0.5"] in rows
    assert ["ham", "spam", "3"] in rows


@pytest.mark.usefixtures("folder")
def test_true_labels_tell_which_side_is_right() -> None:
    two_models()
    truth = [{"id": f"r{n}", "text": "t", "label": "ham" if n < 6 else "spam"} for n in range(9)]
    write("truth.jsonl", truth)
    assert report("first.jsonl", "second.jsonl", "--truth", "truth.jsonl")["truth"] == {
        "records": 9,
        "right": {"first": 7, "second": 8},
        "only_right": {"first": 1, "second": 2},
        "p": pytest.approx(1.0),
    }
    result = compare("first.jsonl", "second.jsonl", "--truth", "truth.jsonl")
    assert "9 with a true label: right first 77.78%, second 88.89%" in result.stdout


@pytest.mark.usefixtures("folder")
def test_what_cannot_be_joined_is_counted() -> None:
    review = {"schema": "streamlabel.review/v1"}
    write("labels.jsonl", [line("a", "x"), line("b", "x"), line("only", "x"), "not json", "[]"])
    write("review.jsonl", [line("c", None, **review), {"schema": "other", "id": "a"}])
    write("second.jsonl", [line("a", "x"), line("b", "y"), line("b", "x"), line("c", "x"), ""])
    found = report("labels.jsonl,review.jsonl", "second.jsonl")
    assert (found["records"], found["agreed"]) == (3, 2)
    assert found["alone"] == {"first": 1, "second": 0}
    assert found["changed"] == {"first": 0, "second": 1}
    assert found["unread"] == {"first": 3, "second": 0}
    assert found["disagreements"] == [{"first": [], "second": ["x"], "records": 1}]
    said = compare("labels.jsonl,review.jsonl", "second.jsonl").stdout
    assert "1 of the first side have no partner" in said
    assert "1 of the second side came again with other labels; the last ones count" in said
    assert "(no label)" in said


@pytest.mark.usefixtures("folder")
def test_tasks_are_apart_and_multi_label_answers_are_sets() -> None:
    many = {"labels": ["y", "x"]}
    write("one.jsonl", [line("a", "x", task="topic"), line("a", "ham", task="spam")])
    write("two.jsonl", [line("a", "x", task="topic"), line("a", "spam", task="spam")])
    assert report("one.jsonl", "two.jsonl")["agreed"] == 1
    write("one.jsonl", [line("a", "x", **many), line("b", "x", labels=[])])
    write("two.jsonl", [line("a", "y", labels=["x", "y"]), line("b", "x", labels=["x"])])
    found = report("one.jsonl", "two.jsonl")
    assert found["agreed"] == 1
    assert found["disagreements"] == [{"first": [], "second": ["x"], "records": 1}]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["first.jsonl", "missing.jsonl"], "missing.jsonl: cannot be read"),
        (["first.jsonl", "other.jsonl"], "no record id is on both sides: 10 record(s) in the"),
        (["first.jsonl", "second.jsonl", "--truth", "other.jsonl"], "line 1: "),
        (["first.jsonl", "second.jsonl", "--truth", "far.jsonl"], "none of its ids is on both"),
        (["first.jsonl", "second.jsonl", "--truth", "bare.jsonl"], "has no ids; add the field id"),
    ],
)
def test_what_cannot_be_compared_is_refused(arguments: list[str], says: str) -> None:
    two_models()
    write("other.jsonl", [line("elsewhere", "ham")])
    write("far.jsonl", [{"id": "far", "text": "t", "label": "ham"}])
    write("bare.jsonl", [{"text": "t", "label": "ham"}])
    result = compare(*arguments)
    assert result.exit_code == 2
    assert says in result.stderr


@pytest.mark.usefixtures("folder")
def test_a_label_cannot_control_the_terminal() -> None:
    write("one.jsonl", [line("a", "\x1b[31mred")])
    write("two.jsonl", [line("a", "\u202eder")])
    result = compare("one.jsonl", "two.jsonl")
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    assert "\u202e" not in result.stdout
