"""``streamlabel monitor`` with verdicts in a file: its table, exit code, and what it refuses."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from streamlabel.__main__ import app
from streamlabel.models.calibration.calibration_file import CalibrationFile
from tests.unit.learning.test_monitor import FILE, LABELS, TAGS, tag_verdict, verdict


@pytest.fixture
def config(tmp_path: Path) -> Path:
    FILE.write(tmp_path / "calibration.yaml")
    path = tmp_path / "streamlabel.yaml"
    path.write_text(
        f"model: {{backend: fake, labels: {json.dumps(LABELS)}}}\n"
        "routing: {calibration: calibration.yaml}\n"
    )
    return path


def run(config: Path, *options: str, every: int) -> Result:
    """Run it on 300 audits, of which one in ``every`` is wrong."""
    file = config.with_name("verdicts.jsonl")
    rows = [verdict(i, right=i % every > 0).encoded() for i in range(300)]
    file.write_bytes(b"\n".join(rows))
    return CliRunner().invoke(
        app, ["monitor", "-c", str(config), "--verdicts", str(file), *options]
    )


def test_below_the_target_it_shows_what_was_audited_and_ends_with_0(config: Path) -> None:
    done = run(config, every=150)
    assert done.exit_code == 0, done.output
    header, whole, label = done.stdout.splitlines()
    assert header.split()[:3] == ["THRESHOLDS", "TASK", "LABEL"]
    assert whole.split()[2:7] == ["(all)", "2.0%", "300", "2", "0"]
    assert label.split()[2] == "ham"
    assert "ALARM" not in whole


def test_above_the_target_it_ends_with_8_and_tightens(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "tight.yaml"
    done = run(config, "--tighten", "file", "--out", str(out), every=5)
    assert done.exit_code == 8
    assert "accepted labels are wrong more often than 2.0 %" in done.stderr
    assert "tightened: ham 0.8000 -> 0.9000, spam 0.9000 -> 0.9700" in done.stderr
    assert CalibrationFile.read(out).limits["ham"] == 0.9


def test_json_has_one_object_per_row(config: Path) -> None:
    rows = [json.loads(line) for line in run(config, "--json", every=150).stdout.splitlines()]
    assert [row["label"] for row in rows] == [None, "ham"]
    assert rows[0]["watched"]["threshold_set_id"] == FILE.threshold_set_id


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--topic", "t"], "give either --verdicts FILE or --topic TOPIC"),
        (["--follow"], "--follow needs --topic"),
        (["--out", "x"], "--tighten file and --out FILE belong together"),
        (["--tighten", "deploy"], "set control.topic and control.key"),
    ],
)
def test_what_contradicts_itself_is_refused(config: Path, options: list[str], message: str) -> None:
    done = run(config, *options, every=150)
    assert done.exit_code == 2
    assert message in done.stderr


@pytest.fixture
def tags(tmp_path: Path) -> Path:
    """A configuration with a guarantee for each label of a multi-label task."""
    TAGS.write(tmp_path / "calibration.yaml")
    path = tmp_path / "streamlabel.yaml"
    path.write_text(
        'model: {backend: fake, labels: ["a", "b"]}\nrouting: {calibration: calibration.yaml}\n'
        'control: {topic: control, key: "0123456789abcdef"}\n'
    )
    rows = [tag_verdict(i, said=["rude"], right=["rude", "threat"]) for i in range(50)]
    (tmp_path / "verdicts.jsonl").write_bytes(b"\n".join(row.encoded() for row in rows))
    return path


def test_each_label_with_a_guarantee_has_a_row(tags: Path) -> None:
    file = tags.with_name("verdicts.jsonl")
    done = CliRunner().invoke(app, ["monitor", "-c", str(tags), "--verdicts", str(file)])
    assert done.exit_code == 0, done.output
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert [row[2:6] for row in rows] == [["rude", "2.0%", "50", "0"], ["spam", "5.0%", "50", "0"]]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["monitor", "--tighten", "deploy"], "two thresholds a label, and routing.thresholds has"),
        (["learn"], "learn chooses one threshold a label"),
    ],
)
def test_what_knows_one_threshold_a_label_refuses_two(
    tags: Path, command: list[str], message: str
) -> None:
    file = tags.with_name("verdicts.jsonl")
    done = CliRunner().invoke(app, [*command, "-c", str(tags), "--verdicts", str(file)])
    assert done.exit_code == 2
    assert message in done.stderr
