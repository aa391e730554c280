"""``streamlabel compare`` on files: what is joined, what is said about it, and what is refused."""

import json
import random
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


# ---- true labels and verdicts


def verdict(name: str, labels: list[str] | None, **more: object) -> dict[str, object]:
    return {
        "schema": "streamlabel.verdict/v1",
        "review_id": name,
        "id": name,
        "action": "correct" if labels is not None else "unsure",
        "labels": labels,
        "saw_model_answer": False,
        "reviewer": "r1",
        "decided_at": "2026-11-29T10:00:00Z",
        "review_probability": 1.0,
        **more,
    }


def many(wrong_second: int, records: int = 1200) -> None:
    """The first side is always right; the second one is wrong about the first records."""
    write("first.jsonl", [line(f"r{n}", "ham", reasons=[]) for n in range(records)])
    write(
        "second.jsonl",
        [line(f"r{n}", "spam" if n < wrong_second else "ham") for n in range(records)],
    )


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("wrong", "is_not_worse"), [(0, True), (3, True), (90, False)])
def test_verdicts_say_whether_the_second_side_is_worse(wrong: int, is_not_worse: bool) -> None:
    many(wrong)
    # in an order that has nothing to do with the results
    order = random.Random(3).sample(range(1200), 1200)
    times = (f"2026-11-29T10:{n // 60:02}:{n % 60:02}Z" for n in range(1200))
    write(
        "verdicts.jsonl",
        [verdict(f"r{n}", ["ham"], decided_at=at) for n, at in zip(order, times, strict=True)],
    )
    arguments = ("first.jsonl", "second.jsonl", "--truth", "verdicts.jsonl", "--margin", "0.02")
    found = report(*arguments)["judgement"]
    assert isinstance(found, dict)
    assert found["records"] == 1200
    assert found["difference"] == pytest.approx(wrong / 1200)
    assert found["lower"] <= wrong / 1200 <= found["upper"]
    assert found["is_not_worse"] is is_not_worse
    assert found["accepted"]["second"]["wrong"] == wrong
    said = compare(*arguments).stdout
    assert ("the second side is NOT WORSE by more than 2" in said) is is_not_worse
    assert "judged by 1,200 records" in said


@pytest.mark.usefixtures("folder")
def test_only_verdicts_that_represent_the_traffic_are_used() -> None:
    many(0, records=8)
    write(
        "verdicts.jsonl",
        [
            verdict("r0", ["ham"]),
            verdict("r1", None),
            verdict("r2", ["ham"], purpose="gold"),
            verdict("r3", ["ham"], review_probability=None),
            verdict("r4", ["ham"], review_probability=0.1, saw_model_answer=True),
            verdict("r5", ["spam"]),
            verdict("r5", ["ham"], look=2, decided_at="2026-11-29T09:00:00Z"),
            verdict("r6", ["ham"], decided_at="2026-11-29T12:00:00Z"),
            verdict("r6", ["spam"], decided_at="2026-11-29T11:00:00Z"),
        ],
    )
    found = report("first.jsonl", "second.jsonl", "--truth", "verdicts.jsonl")
    judged = found["judgement"]
    assert isinstance(judged, dict)
    counts = ("records", "left_out", "undecided", "known_before", "saw_model_answer")
    assert [judged[name] for name in counts] == [4, 1, 1, 1, 1]
    assert judged["is_weighted"] is True
    assert judged["accepted"]["first"] == {"records": 4, "wrong": 0, "share": 0.0, "upper": 1.0}
    said = compare("first.jsonl", "second.jsonl", "--truth", "verdicts.jsonl").stdout
    assert "1 verdicts given with the model's answer in view" in said
    assert "weighted by how they were drawn" in said


@pytest.mark.usefixtures("folder")
def test_what_went_to_review_is_not_accepted() -> None:
    write("first.jsonl", [line("a", "x", reasons=["low_confidence"]), line("b", "x", reasons=[])])
    write("second.jsonl", [line("a", "y", reasons=["audit"]), line("b", "x")])
    write(
        "truth.jsonl",
        [{"id": "a", "text": "t", "label": "x"}, {"id": "b", "text": "u", "label": "x"}],
    )
    found = report("first.jsonl", "second.jsonl", "--truth", "truth.jsonl")["judgement"]
    assert isinstance(found, dict)
    accepted = found["accepted"]
    assert (accepted["first"]["records"], accepted["first"]["wrong"]) == (1, 0)
    assert (accepted["second"]["records"], accepted["second"]["wrong"]) == (2, 1)


@pytest.mark.usefixtures("folder")
def test_the_page_has_the_plots_the_numbers_and_no_markup_of_a_label() -> None:
    write("first.jsonl", [line(f"r{n}", "<b>ham</b>" if n % 2 else "$x$") for n in range(40)])
    write("second.jsonl", [line(f"r{n}", "</script>" if n < 3 else "$x$") for n in range(40)])
    truth = [{"id": f"r{n}", "text": f"t{n}", "label": "$x$"} for n in range(40)]
    write("truth.jsonl", truth)
    arguments = ("--truth", "truth.jsonl", "--margin", "0.5", "--html", "page.html")
    found = report("first.jsonl", "second.jsonl", *arguments)
    page = Path("page.html").read_text()
    assert page.count("<svg") == 2
    assert "<b>ham" not in page
    assert page.count("</script>") == 1
    numbers = page.partition('id="numbers">')[2].partition("</script>")[0]
    assert json.loads(numbers) == found
    assert "Is the second side worse?" in page


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--margin", "0.01"], "--margin needs --truth"),
        (["--truth", "bad.jsonl"], "bad.jsonl, line 2: action"),
        (["--truth", "unknown.jsonl", "--margin", "0.01"], "no verdict says with what probability"),
        (["--truth", "verdicts.jsonl", "--html", "no/where.html"], "cannot be written"),
    ],
)
def test_what_cannot_be_judged_is_refused(arguments: list[str], says: str) -> None:
    many(0, records=3)
    write("verdicts.jsonl", [verdict("r1", ["ham"])])
    write("bad.jsonl", [verdict("r1", ["ham"]), {**verdict("r2", ["ham"]), "action": "guess"}])
    write("unknown.jsonl", [verdict("r1", ["ham"], review_probability=None)])
    result = compare("first.jsonl", "second.jsonl", *arguments)
    assert result.exit_code == 2
    assert says in result.stderr
