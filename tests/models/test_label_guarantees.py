"""A guarantee for each label, from labelled texts to labels, with a real multi-label encoder."""

import json
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamlabel.__main__ import app
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.core.labels import LabelSet
from streamlabel.training.head import Example, FitSettings, fit_head
from tests.models.tiny import build_model

pytestmark = pytest.mark.model

TAGS = ("good", "match")
WORDS = ("the", "stock", "a", "!", ".")


def labelled(number: int) -> tuple[str, list[str]]:
    """Return a text of its own, whose labels are the words that it contains."""
    order = random.Random(number)
    labels = [tag for tag in TAGS if order.random() < 0.4]
    words = labels + [order.choice(WORDS) for _ in range(9)]
    order.shuffle(words)
    return " ".join(words), labels


def rows(path: Path, numbers: range) -> Path:
    made = ({"text": text, "labels": labels} for text, labels in map(labelled, numbers))
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*map(str, arguments)])
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder that has learned the two words."""
    folder = tmp_path_factory.mktemp("tags")
    encoder = build_model(folder / "base", labels=None, num_labels=2)
    texts = [labelled(n) for n in range(200)]
    fit_head(
        [Example(text, labels=tuple(labels)) for text, labels in texts],
        LabelSet(TAGS, "multi_label"),
        encoder=encoder,
        folder=folder / "model",
        settings=FitSettings(
            epochs=30, learning_rate=3e-3, batch_items=16, trained_layers=None, label_smoothing=0.0
        ),
    )
    return folder / "model"


def test_labelled_texts_become_labels_with_a_guarantee_for_each(
    model: Path, tmp_path: Path
) -> None:
    given = ["--set", "model.backend=encoder", "--set", f"model.path={model}"]
    given += ["--set", "model.device=cpu"]
    made = tmp_path / "calibration.yaml"
    dev = rows(tmp_path / "dev.jsonl", range(1_000, 1_600))
    code, said = run("calibrate", *given, "--data", dev, "--target-error", "0.05", "-o", made)
    assert code == 0, said
    calibration = CalibrationFile.read(made)
    assert calibration.answers is not None
    assert calibration.answers.guarantees.keys() == {*TAGS}
    assert all(each.target_error == 0.05 for each in calibration.answers.guarantees.values())

    given += ["--set", f"routing.calibration={made}"]
    test = rows(tmp_path / "test.jsonl", range(2_000, 2_400))
    code, said = run("evaluate", *given, "--data", test, "--out", tmp_path / "report")
    assert code == 0, said
    for tag in TAGS:
        assert tag in said
    code, said = run("classify", "--file", test, *given, "--out", tmp_path / "labels.jsonl")
    assert code == 0, said
    lines = (tmp_path / "labels.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert len(records) == 400
    accepted = [n for n, each in enumerate(records) if each["route"] == "label"]
    assert len(accepted) > 100
    for tag in TAGS:
        wrong = [
            n for n in accepted if (tag in records[n]["labels"]) != (tag in labelled(2_000 + n)[1])
        ]
        assert len(wrong) <= 0.05 * len(accepted)
    for each in records:
        assert (each["route"] == "review") == bool(each.get("unsure_labels"))


def test_a_label_that_cannot_be_guaranteed_is_named(model: Path, tmp_path: Path) -> None:
    given = ["--set", "model.backend=encoder", "--set", f"model.path={model}"]
    made = tmp_path / "c.yaml"
    few = rows(tmp_path / "few.jsonl", range(3_000, 3_080))
    code, said = run("calibrate", *given, "--data", few, "--target-error", "0.01", "-o", made)
    assert code != 0
    assert "368 accepted texts without an error" in said, "of half the level, for two labels"

    coin = random.Random(5)
    noisy = tmp_path / "noisy.jsonl"
    with noisy.open("w") as file:
        for text, labels in map(labelled, range(4_000, 4_600)):
            guessed = [
                tag for tag in TAGS if (coin.random() < 0.5 if tag == "match" else tag in labels)
            ]
            file.write(json.dumps({"text": text, "labels": guessed}) + "\n")
    code, said = run("calibrate", *given, "--data", noisy, "--target-error", "0.05", "-o", made)
    assert code != 0
    assert "match: an accepted error <= 5.0 %" in said
    assert "the chance with 12,000 in all is 0 %" in said.partition("match: ")[2]
    assert "--no-target LABEL" in said
    assert not made.exists()
    code, said = run(
        "calibrate", *given, "--data", noisy, "--target-error", "0.05", "--no-target", "match",
        "-o", made,
    )  # fmt: skip
    assert code == 0, said
    answers = CalibrationFile.read(made).answers
    assert answers is not None
    assert answers.guarantees.keys() == {"good"}
