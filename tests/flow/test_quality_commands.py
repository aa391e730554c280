"""evaluate, calibrate and thresholds from file to file, with the checksum model."""

import json
import random
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from streamlabel.__main__ import app
from streamlabel.models.calibration.calibration_file import CalibrationFile

MODEL = ("--set", "model.backend=fake", "--set", 'model.labels=["ham", "spam"]')


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with 400 labelled texts; the checksum is right by chance only."""
    monkeypatch.chdir(tmp_path)
    rng = random.Random(0)
    rows = [
        {"id": str(i), "text": f"text {i}", "label": rng.choice(["ham", "spam"])}
        for i in range(400)
    ]
    Path("dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_evaluate_writes_a_page_that_needs_nothing_else_and_every_number(folder: Path) -> None:
    done = run("evaluate", *MODEL, "--data", "dev.jsonl", "--out", "report")
    assert done.exit_code == 0, done.output
    assert "accuracy 0." in done.stdout
    page = (folder / "report/report.html").read_text()
    assert page.count("<svg") == 4
    for reference in ("http://", "https://", "src=", "url("):
        rest = page.replace("http://www.w3.org/", "").replace("http://purl.org/", "")
        rest = rest.replace("http://creativecommons.org/", "").replace("url(#", "")
        rest = rest.replace("https://matplotlib.org/", "")
        assert reference not in rest
    numbers = json.loads((folder / "report/report.json").read_text())
    assert numbers["evaluation"]["items"] == 400
    assert len(numbers["evaluation"]["by_label"]) == 2
    assert numbers["calibration"] == "none"
    assert "text 1" not in json.dumps(numbers)
    assert sorted(p.name for p in (folder / "report").iterdir()) == ["report.html", "report.json"]


def test_a_calibration_goes_from_data_to_routes(folder: Path) -> None:
    done = run("calibrate", *MODEL, "--data", "dev.jsonl", "--max-review", "0.25", "-o", "c.yaml")
    assert done.exit_code == 0, done.output
    assert "review 25.0 % of the 400 labelled texts; " in done.stdout
    assert "of 300 accepted labels were wrong: " in done.stdout
    file = CalibrationFile.read(folder / "c.yaml")
    assert file.thresholds is not None
    assert file.reference is not None
    assert file.reference.items == 400
    calibrated = (*MODEL, "--set", "routing.calibration=c.yaml")
    done = run("classify", *calibrated, "-f", "dev.jsonl", "-o", "out.jsonl")
    assert done.exit_code == 0, done.output
    outputs = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert sum(output["route"] == "review" for output in outputs) == 100
    assert {output["model"]["calibration_id"] for output in outputs} == {file.id}
    done = run("drift", *calibrated, "--from", "out.jsonl")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("400 outputs, 400 texts of the calibration\nlabel: no drift")
    assert run("drift", *MODEL, "--from", "out.jsonl").exit_code == 2  # without a calibration
    done = run("thresholds", "--from", "out.jsonl", "--set", "0.4", "--truth", "dev.jsonl")
    assert "review 25.0% -> 0.0% of 400 texts" in done.stdout
    assert "400 of them" in done.stdout
    done = run("evaluate", *calibrated, "--data", "dev.jsonl")
    assert done.exit_code == 0, done.output
    assert json.loads((folder / "report/report.json").read_text())["calibration"] == file.id


def test_a_promise_that_cannot_be_made_is_refused_and_nothing_is_written(folder: Path) -> None:
    done = run("calibrate", *MODEL, "--data", "dev.jsonl", "--target-error", "0.01")
    assert done.exit_code == 2
    assert "299 accepted texts without an error" in done.stderr
    assert "It cannot be said how many more would do" in done.stderr
    assert not (folder / "calibration.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--target-error", "1"), "--target-error: must be between 0 and 1"),
        (("--costs", "costs.yaml", "--max-review", "0.1"), "--costs excludes"),
        (("--out", "gone/c.yaml"), "there is no folder gone"),
        (("--costs", "costs.yaml"), "no cost for spam: add error"),
        (("--target-error", "0.49", "--max-review", "0.1"), "more|takes"),
        (("--no-target", "ham"), "--no-target goes with --target-error"),
        (("--no-target", "egg", "--target-error", "0.4"), "--no-target: egg: unknown label"),
        (("--no-target", "ham", "--target-error", "0.4"), "only in a multi-label task"),
    ],
)
def test_calibrate_says_what_it_cannot_do(
    folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    (folder / "costs.yaml").write_text("review: 1\nerrors: {ham: 3}\n")
    done = run("calibrate", *MODEL, "--data", "dev.jsonl", *arguments)
    assert done.exit_code == 2
    assert any(part in done.stderr for part in message.split("|"))


def test_costs_choose_thresholds(folder: Path) -> None:
    (folder / "costs.yaml").write_text("review: 1\nerror: 4\nerrors: {ham: 10}\n")
    done = run("calibrate", *MODEL, "--data", "dev.jsonl", "--costs", "costs.yaml")
    assert done.exit_code == 0, done.output
    assert "ham: 0.9000" in done.stdout
    assert "spam: 0.7500" in done.stdout


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a", "label": "egg"}\n', "line 1: label 'egg' is unknown"),
        ('{"text": "a", "label": "ham"}\n' * 3, "all 3 texts have the same label"),
    ],
)
def test_a_file_that_says_nothing_is_refused(folder: Path, content: str, message: str) -> None:
    (folder / "bad.jsonl").write_text(content)
    done = run("evaluate", *MODEL, "--data", "bad.jsonl")
    assert done.exit_code == 2
    assert message in done.stderr


def test_a_missing_file_is_named(folder: Path) -> None:
    done = run("evaluate", *MODEL, "--data", folder / "gone.jsonl")
    assert done.exit_code == 2
    assert "no such file" in done.stderr


@pytest.mark.parametrize(
    ("setting", "message"), [("egg=0.5", "the outputs have ham, spam"), ("7", "at most 1")]
)
def test_thresholds_says_what_it_cannot_try(folder: Path, setting: str, message: str) -> None:
    (folder / "out.jsonl").write_text(
        '{"id": "1", "label": "ham", "confidence": 0.9, "route": "label", "reasons": [],'
        ' "probabilities": {"ham": 0.9, "spam": 0.1}}\nno json\n'
    )
    done = run("thresholds", "--from", "out.jsonl", "--set", setting)
    assert done.exit_code == 2
    assert message in done.stderr


def test_thresholds_of_labels_that_outputs_leave_out_are_tried(folder: Path) -> None:
    (folder / "out.jsonl").write_text(
        '{"id": "1", "label": "ham", "confidence": 0.7, "route": "label", "reasons": [],'
        ' "probabilities": {"ham": 0.7}, "probabilities_left_out": 9}\n'
        '{"id": "2", "label": "ham", "labels": ["ham"], "confidence": 0.7, "route": "review",'
        ' "reasons": ["low_confidence"], "probabilities": {"ham": 0.9},'
        ' "probabilities_left_out": 9}\n'
    )
    done = run("thresholds", "--from", "out.jsonl", "--set", "ham=0.8", "--set", "egg=0.9")
    assert done.exit_code == 0, done.output
    # the second may still be unsure of a label that is not written, so it stays with people
    assert "review 50.0% -> 100.0% of 2 texts" in done.stdout


def test_item_3_every_command_compares_the_settings_of_a_calibration_with_those_in_force(
    folder: Path,
) -> None:
    strict = ("--set", "routing.review_truncated=true")
    done = run("calibrate", *MODEL, *strict, "--data", "dev.jsonl", "--max-review", "0.9")
    assert done.exit_code == 0, done.output
    using = (*MODEL, "--set", "routing.calibration=calibration.yaml")
    commands = (
        ("classify", "-f", "dev.jsonl", "-o", "out.jsonl"),
        ("evaluate", "--data", "dev.jsonl"),
        ("check", "--set", "kafka.bootstrap_servers=127.0.0.1:1"),
    )
    looser = "when the calibration was tested: routing.review_truncated true, now false"
    for command, *rest in commands:
        done = run(command, *using, *rest)
        assert looser in " ".join(done.output.split()), command
        done = run(command, *using, "--set", "input.normalise=nfc", *rest)
        assert done.exit_code != 0
        assert "input.normalise none, now nfc" in " ".join(done.output.split()), command
    outputs = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert {output["model"]["threshold_change"] for output in outputs} == {"loosened"}
    done = run("classify", *using, *strict, "-f", "dev.jsonl", "-o", "same.jsonl")
    same = [json.loads(line) for line in (folder / "same.jsonl").read_text().splitlines()]
    assert all("threshold_change" not in output["model"] for output in same)


def test_item_4_the_same_rows_four_times_prove_no_more_than_once(folder: Path) -> None:
    rows = (folder / "dev.jsonl").read_text()
    (folder / "copies.jsonl").write_text(rows * 4)
    wish = ("--max-review", "0.25")
    once = run("calibrate", *MODEL, "--data", "dev.jsonl", *wish, "-o", "once.yaml")
    done = run("calibrate", *MODEL, "--data", "copies.jsonl", *wish, "-o", "copies.yaml")
    assert done.exit_code == once.exit_code == 0, done.output
    assert "copies.jsonl: 1,200 of 1,600 texts repeat another one and are left out" in done.stderr
    assert (folder / "once.yaml").read_text() == (folder / "copies.yaml").read_text()
    assert once.stdout == done.stdout


def test_item_6_calibrate_shows_by_label_what_is_accepted_wrong_and_missed(folder: Path) -> None:
    done = run("calibrate", *MODEL, "--data", "dev.jsonl", "--max-review", "0.5")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    table = [line for line in lines if line.startswith(("label ", "ham ", "spam "))]
    assert "wrong of accepted" in table[0]
    file = CalibrationFile.read(folder / "calibration.yaml")
    assert list(file.by_label) == ["ham", "spam"]
    ham, spam = file.by_label.values()
    assert ham.texts + spam.texts == ham.predicted + spam.predicted == 400
    assert 200 <= ham.accepted + spam.accepted <= 203  # equal confidences are accepted together
    assert (ham.wrong, spam.wrong) == (spam.missed, ham.missed)
    assert f"ham: {ham.missed} of {ham.texts} texts are accepted under another label" in done.stdout
    assert f"{100 * ham.wrong / ham.accepted:.1f} % (" in table[1]


def test_item_6_a_limit_of_missed_texts_is_stored_and_holds_on_the_data(folder: Path) -> None:
    done = run("calibrate", *MODEL, "--data", "dev.jsonl", "--missed", "spam=0.2")
    assert done.exit_code == 0, done.output
    assert "missed spam <= 20.0 % (95 %): at most this share of its texts" in done.stdout
    file = CalibrationFile.read(folder / "calibration.yaml")
    assert file.missed["spam"].target == 0.2
    assert file.thresholds is not None
    assert file.limits["ham"] == file.missed["spam"].floor > file.limits["spam"]
    assert file.by_label["spam"].missed == file.missed["spam"].missed < 0.2 * 200


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--missed", "spam"), "--missed spam: write LABEL=SHARE"),
        (("--missed", "egg=0.1"), "--missed: egg: unknown label; the labels are ham, spam"),
        (("--missed", "spam=0.001"), "takes 2,995 labelled texts of spam"),
        (("--missed", "spam=0.1", "--max-review", "0.1"), "--missed goes alone or with"),
    ],
)
def test_item_6_a_limit_that_cannot_be_proven_is_refused(
    folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = run("calibrate", *MODEL, "--data", "dev.jsonl", *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (folder / "calibration.yaml").exists()


def test_item_8_evaluate_says_what_a_calibration_accepts_and_whether_it_held(folder: Path) -> None:
    rows = [json.loads(line) for line in (folder / "dev.jsonl").read_text().splitlines()]
    for i, row in enumerate(rows):
        row["lang"] = ("en", "zh")[i % 2]
    (folder / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = run("calibrate", *MODEL, "--data", "dev.jsonl", "--missed", "spam=0.3")
    assert made.exit_code == 0, made.output
    using = (*MODEL, "--set", "routing.calibration=calibration.yaml")
    done = run("evaluate", *using, "--data", "dev.jsonl", "--by", "lang")
    assert done.exit_code == 0, done.output
    assert "of 400 texts; wrong " in done.stdout
    assert "spam accepted under another label <= 30.0 %: " in done.stdout
    assert "best thresholds on these texts, no guarantee: coverage " in done.stdout
    numbers = json.loads((folder / "report/report.json").read_text())["accepted"]
    file = CalibrationFile.read(folder / "calibration.yaml")
    assert numbers["by_label"] == {k: v.model_dump() for k, v in file.by_label.items()}
    assert numbers["guarantees"][0]["result"] == "held"
    slices = {(each["field"], each["value"]): each["texts"] for each in numbers["slices"]}
    assert slices["lang", "en"] == slices["lang", "zh"] == 200
    assert slices["length", "short third"] > 0
    page = (folder / "report/report.html").read_text()
    quality, optima = page.split("<h2>Best thresholds on these texts</h2>")
    assert "Coverage at" not in quality  # no optimum stands under "95 % intervals"
    assert "Coverage at 1.0% error" in optima
    assert "<h2>By slice</h2>" in quality
    assert "spam accepted under another label" in quality
    looser = run("evaluate", *using, "--set", "routing.thresholds.ham=0.01", "--data", "dev.jsonl")
    assert "accepted under another label <=" not in looser.stdout  # nothing is guaranteed then
    assert run("evaluate", *using, "--data", "dev.jsonl", "--slice", "gone").exit_code == 2


def test_item_8_fifty_labels_are_legible_on_the_page(folder: Path) -> None:
    names = [f"category number {i:02}" for i in range(50)]
    rng = random.Random(1)
    rows = [{"text": f"text {i}", "label": rng.choice(names)} for i in range(500)]
    (folder / "many.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = ("--set", "model.backend=fake", "--set", f"model.labels={json.dumps(names)}")
    done = run("evaluate", *model, "--data", "many.jsonl", "--out", "many")
    assert done.exit_code == 0, done.output
    page = (folder / "many/report.html").read_text()
    figure = page[page.index("</div>\n<figure>") : page.index("<h2>Best thresholds")]
    height = float(re.search(r'height="([\d.]+)pt"', figure)[1])  # type: ignore[index]  # it has one
    assert height > 50 * 9  # points: a line of names at 10 points does not overlap the next
    assert len(re.findall("category number", figure)) >= 100


CASCADE = """
cascade:
  - name: fast
    model: {backend: fake, labels: [ham, spam]}
  - name: slow
    price: 20
    review_price: 500
    model: {backend: fake, labels: [ham, spam]}
"""


@pytest.fixture
def sure(folder: Path) -> Path:
    """Texts with the label that the checksum model gives them, but for one in twenty."""
    (folder / "cascade.yaml").write_text(CASCADE)
    done = run("classify", *MODEL, "-f", "dev.jsonl", "-o", "said.jsonl")
    assert done.exit_code == 0, done.output
    said = [json.loads(line) for line in (folder / "said.jsonl").read_text().splitlines()]
    texts = {f"dev.jsonl-{i}": f"text {i}" for i in range(400)} | {
        str(i): f"text {i}" for i in range(400)
    }
    other = {"ham": "spam", "spam": "ham"}
    rows = [
        {"text": texts[each["id"]], "label": other[each["label"]] if n % 20 == 0 else each["label"]}
        for n, each in enumerate(said)
    ]
    (folder / "right.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_a_cascade_is_proven_as_a_whole_and_its_files_are_used(sure: Path) -> None:
    done = run("calibrate", "-c", "cascade.yaml", "--data", "right.jsonl", "--target-error", "0.1")
    assert done.exit_code == 0, done.output
    assert "accepted error of all stages together <= 10.0 % (95 %), 400 labels" in done.stdout
    assert re.search(r"cost per text +fast +slow +review +wrong +bound\n", done.stdout)
    assert done.stdout.count("<- chosen") == 1
    files = [CalibrationFile.read(sure / f"calibration-{name}.yaml") for name in ("fast", "slow")]
    assert [file.cascade.stage for file in files if file.cascade] == ["fast", "slow"]
    named = [
        argument
        for n, name in enumerate(("fast", "slow"))
        for argument in ("--set", f"cascade.{n}.routing.calibration=calibration-{name}.yaml")
    ]
    done = run("classify", "-c", "cascade.yaml", *named, "-f", "right.jsonl", "-o", "out.jsonl")
    assert done.exit_code == 0, done.output
    outputs = [json.loads(line) for line in (sure / "out.jsonl").read_text().splitlines()]
    proven = files[0].cascade
    assert proven is not None
    assert sum(output["route"] == "label" for output in outputs) == proven.accepted
    named[1], named[3] = named[3].replace(".1.", ".0."), named[1].replace(".0.", ".1.")
    done = run("classify", "-c", "cascade.yaml", *named, "-f", "right.jsonl", "-o", "out.jsonl")
    assert done.exit_code == 2
    assert "was made for stage slow of the cascade fast -> slow" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--max-review", "0.1"), "for a whole cascade give --target-error"),
        (
            ("--target-error", "0.1", "--set", "cascade.1.review_price=null"),
            "cascade[1].review_price: set what a review costs",
        ),
        (("--target-error", "0.001"), "no thresholds of the stages hold 0.1 %"),
    ],
)
def test_calibrate_says_what_it_cannot_do_for_a_cascade(
    sure: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = run("calibrate", "-c", "cascade.yaml", "--data", "right.jsonl", *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not list(sure.glob("calibration*"))


@pytest.mark.parametrize("command", [("evaluate",), ("calibrate", "-o", "c.yaml")])
def test_messages_are_refused_for_a_model_of_single_texts(
    folder: Path, command: tuple[str, ...]
) -> None:
    rows = [{"messages": ["a", f"b{n}"], "label": "ham" if n % 2 else "spam"} for n in range(9)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = run(*command, *MODEL, "--data", "pairs.jsonl")
    assert done.exit_code == 2
    assert "pairs.jsonl, line 1: the text is a conversation; this model reads single" in done.output
    assert "set input.messages_path" in done.output
