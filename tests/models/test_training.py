"""Training with held-out texts: the best epoch is what is saved, whatever ends the training."""

import asyncio
import hashlib
import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification
from typer.testing import CliRunner

from streamlabel.__main__ import app
from streamlabel.commands.training import learned_and_held
from streamlabel.config.model import EncoderSettings
from streamlabel.errors import ConfigError, InferenceError, ModelLoadError
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.core.labels import LabelSet
from streamlabel.models.encoder import classifier as backend
from streamlabel.training.fit_settings import EpochReport
from streamlabel.training.head import Example, FitReport, FitSettings, fit_head
from tests.models.tiny import build_model

pytestmark = pytest.mark.model

LABELS = LabelSet(("good", "bad"))
TRAIN = [
    Example(text, label)
    for text, label in (
        ("a good match", "good"),
        ("good stock !", "good"),
        ("the good match .", "good"),
        ("bad stock", "bad"),
        ("a bad bad match", "bad"),
        ("the bad", "bad"),
    )
]
HELD = [Example("good !", "good"), Example("bad !", "bad")]
WRONG = [Example("good !", "bad"), Example("bad !", "good")]
QUICK = FitSettings(
    epochs=6, learning_rate=3e-3, batch_items=4, trained_layers=1, label_smoothing=0.0, patience=2
)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder with random weights."""
    return build_model(tmp_path_factory.mktemp("encoder"), labels=None, num_labels=2)


def drop(folder: Path, name: str) -> None:
    """Take one tensor out of a model's weights."""
    path = folder / "model.safetensors"
    save_file({n: w for n, w in load_file(path).items() if n != name}, path, {"format": "pt"})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = AutoModelForSequenceClassification.from_pretrained(
        folder
    ).state_dict()
    return state


def test_the_head_of_a_classifier_with_other_labels_is_replaced(tmp_path: Path) -> None:
    base = build_model(tmp_path / "base")  # three labels
    report = fit_head(TRAIN, LABELS, encoder=base, folder=tmp_path / "model", settings=QUICK)
    assert weights(report.folder)["classifier.weight"].shape[0] == len(LABELS)


def test_an_encoder_without_all_its_weights_is_refused(tmp_path: Path) -> None:
    base = build_model(tmp_path / "base")
    drop(base, "bert.encoder.layer.1.output.dense.weight")
    with pytest.raises(
        ModelLoadError, match=r"no trained weights for bert\.encoder\.layer\.1\.output"
    ):
        fit_head(TRAIN, LABELS, encoder=base, folder=tmp_path / "model", settings=QUICK)


def test_the_best_epoch_on_held_out_texts_is_saved(encoder: Path, tmp_path: Path) -> None:
    """Held-out texts with swapped labels get worse as the model learns: an early epoch is best."""
    settings = replace(QUICK, epochs=8)
    seen: list[EpochReport] = []
    report = fit_head(
        TRAIN, LABELS, encoder=encoder, folder=tmp_path / "m", settings=settings, held_out=WRONG,
        on_epoch=seen.append,
    )  # fmt: skip
    assert report.epochs == tuple(seen)
    assert len(seen) < settings.epochs
    best = min(seen, key=lambda e: e.held_out_loss or 0.0)
    assert [e.number for e in seen if e.is_best][-1] == best.number
    assert len(seen) == best.number + settings.patience
    shorter = replace(settings, epochs=settings.epochs, patience=100)
    again = fit_head(
        TRAIN, LABELS, encoder=encoder, folder=tmp_path / "n", settings=shorter, held_out=WRONG
    )
    assert len(again.epochs) == settings.epochs
    one, two = weights(tmp_path / "m"), weights(tmp_path / "n")
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_ctrl_c_leaves_the_best_epoch_so_far(encoder: Path, tmp_path: Path) -> None:
    def stop(epoch: EpochReport) -> None:
        if epoch.number == 2:
            raise KeyboardInterrupt

    report = fit_head(
        TRAIN, LABELS, encoder=encoder, folder=tmp_path / "m", settings=QUICK, held_out=HELD,
        on_epoch=stop,
    )  # fmt: skip
    assert report.was_interrupted
    assert [epoch.number for epoch in report.epochs] == [1, 2]
    assert (tmp_path / "m" / "model.safetensors").is_file()


def test_ctrl_c_before_the_first_epoch_leaves_nothing(encoder: Path, tmp_path: Path) -> None:
    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_head(
            TRAIN, LABELS, encoder=encoder, folder=tmp_path / "m", settings=QUICK, held_out=HELD,
            on_step=stop,
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_balanced_weights_let_a_rare_label_count(encoder: Path, tmp_path: Path) -> None:
    rare = [*[Example("good match", "good")] * 20, Example("the stock", "bad")]
    losses = {}
    for weighting in ("none", "balanced"):
        settings = replace(QUICK, epochs=2, class_weights=weighting)
        fit_head(rare, LABELS, encoder=encoder, folder=tmp_path / weighting, settings=settings)
        losses[weighting] = weights(tmp_path / weighting)["classifier.bias"]
    lean = {name: float(bias[1] - bias[0]) for name, bias in losses.items()}
    assert lean["balanced"] > lean["none"]


async def decided(folder: Path, labels: LabelSet, texts: list[str]) -> list[tuple[str, ...]]:
    classifier = backend.load(EncoderSettings(path=str(folder), device="cpu"))
    try:
        assert classifier.labels == labels
        prepared = await classifier.prepare(texts)
        found = await classifier.classify([p for p in prepared if not isinstance(p, Exception)])
    finally:
        await classifier.close()
    chosen = []
    for answer in found:
        assert not isinstance(answer, InferenceError)
        assert answer.probabilities is not None
        pairs = zip(labels.names, answer.probabilities, strict=True)
        chosen.append(tuple(name for name, p in pairs if p >= 0.5))
    return chosen


def test_several_labels_are_learned_and_served(encoder: Path, tmp_path: Path) -> None:
    tags = LabelSet(("good", "match"), "multi_label")
    examples = [
        Example("good stock", labels=("good",)),
        Example("a good match", labels=("good", "match")),
        Example("the match", labels=("match",)),
        Example("the stock"),
    ] * 3
    settings = replace(QUICK, epochs=40, class_weights="balanced")
    fit_head(examples, tags, encoder=encoder, folder=tmp_path / "m", settings=settings)
    found = asyncio.run(decided(tmp_path / "m", tags, [example.text for example in examples[:4]]))
    assert found == [example.labels for example in examples[:4]]


def test_a_text_with_two_labels_is_refused_in_a_single_label_task(
    encoder: Path, tmp_path: Path
) -> None:
    examples = [*TRAIN, Example("x", labels=("good", "bad"))]
    with pytest.raises(ConfigError, match="exactly one label"):
        fit_head(examples, LABELS, encoder=encoder, folder=tmp_path / "m")


def test_the_card_is_told_how_it_went(encoder: Path, tmp_path: Path) -> None:
    def card(report: FitReport) -> str:
        return f"{report.examples} {len(report.epochs)}"

    settings = replace(QUICK, epochs=1)
    fit_head(TRAIN, LABELS, encoder=encoder, folder=tmp_path / "m", settings=settings, card=card)
    assert (tmp_path / "m" / "README.md").read_text() == "6 1"


# The command


def run(*arguments: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["train", "encoder", *map(str, arguments)])
    return done.exit_code, done.stderr


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Thirty texts."""
    path = tmp_path / "train.jsonl"
    rows = [{"text": f"{e.text} {i}", "label": e.label} for i, e in enumerate(TRAIN * 5)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_weights_decide_where_labels_contradict_each_other(encoder: Path, tmp_path: Path) -> None:
    both = [Example("good match", "good", weight=3.0), Example("good match", "bad")] * 8
    settings = replace(QUICK, epochs=3, class_weights="balanced")
    fit_head(both, LABELS, encoder=encoder, folder=tmp_path / "m", settings=settings)
    heavy = [replace(each, weight=4.0 - each.weight) for each in both]
    fit_head(heavy, LABELS, encoder=encoder, folder=tmp_path / "n", settings=settings)
    one, two = (weights(tmp_path / name)["classifier.bias"] for name in ("m", "n"))
    good, bad = LABELS.names.index("good"), LABELS.names.index("bad")
    assert one[good] - one[bad] > two[good] - two[bad]


def test_an_epoch_that_would_end_too_late_is_not_begun(encoder: Path, tmp_path: Path) -> None:
    settings = replace(QUICK, epochs=50, minutes=1e-9)
    report = fit_head(
        TRAIN, LABELS, encoder=encoder, folder=tmp_path / "m", settings=settings, held_out=HELD
    )
    assert [epoch.number for epoch in report.epochs] == [1]
    assert not report.was_interrupted
    assert (tmp_path / "m" / "model.safetensors").stat().st_mode & 0o044 == 0o044


def test_the_command_makes_a_model_with_a_card(encoder: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    fit = ("--data", data, "--base", encoder, "--out", out, "--epochs", "2")
    code, said = run(*fit)
    assert code == 0, said
    assert "27 training texts, 3 held out; labels bad, good" in said
    assert "epoch 1: loss" in said
    card = (out / "README.md").read_text()
    assert "- bad\n- good" in card
    assert "| 2 |" in card
    assert hashlib.sha256(data.read_bytes()).hexdigest() in card
    assert "| train.jsonl | 30 labelled texts |" in card
    assert "    streamlabel " in card  # the command
    code, said = run(*fit)
    assert code == 2
    assert "--overwrite" in said
    assert run(*fit, "--overwrite")[0] == 0


def test_a_text_that_is_there_twice_is_never_learned_and_held_out(
    encoder: Path, tmp_path: Path
) -> None:
    data = tmp_path / "train.jsonl"
    rows = [{"text": f"{e.text} {i // 2}", "label": e.label} for e in TRAIN for i in range(20)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    learned, held = learned_and_held(data, None, seed=3)
    assert len(held) == 12
    assert not {text.text for text in learned} & {text.text for text in held}
    data.write_text('{"text": "good", "label": "good"}\n{"text": "Good ", "label": "bad"}\n' * 15)
    code, said = run("--data", data, "--base", encoder, "--out", tmp_path / "m")
    assert code == 2
    assert "too few texts of bad, good; add more" in said


def test_ctrl_c_in_a_terminal_leaves_a_whole_model(
    encoder: Path, data: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "streamlabel", "train", "encoder", "--epochs", "100000"]
    given = {"--data": data, "--base": encoder, "--out": tmp_path / "m", "--patience": 100000}
    command += [str(part) for option in given.items() for part in option]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as training:
        assert training.stderr is not None
        next(line for line in training.stderr if line.startswith("epoch 2"))
        training.send_signal(signal.SIGINT)
        _, said = training.communicate(timeout=40)
    assert training.returncode == 130
    assert "interrupted; the best epoch so far is in" in said
    assert weights(tmp_path / "m")
    assert "It was interrupted" in (tmp_path / "m" / "README.md").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "m.training", "train.jsonl"]


def test_the_command_refuses_what_would_flatter_or_destroy(
    encoder: Path, data: Path, tmp_path: Path
) -> None:
    base = ("--data", data, "--base", encoder)
    code, said = run(*base, "--out", tmp_path / "m", "--dev", data)
    assert code == 2
    assert "train.jsonl, line 1 is train.jsonl, line 1" in said
    code, said = run(*base, "--out", tmp_path)
    assert code == 2
    assert "is not a model folder" in said
    assert run(*base, "--out", tmp_path / "gone" / "m")[0] == 2
    short = tmp_path / "short.jsonl"
    short.write_text("".join(data.read_text().splitlines(keepends=True)[:12]))
    code, said = run("--data", short, "--base", encoder, "--out", tmp_path / "m")
    assert code == 2
    assert "12 texts are too few" in said


def test_item_4_calibrate_refuses_the_texts_of_the_training(
    encoder: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    assert run("--data", data, "--base", encoder, "--out", out, "--epochs", "1")[0] == 0
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    rows += [{"text": f"a new text, number {i}", "label": "good"} for i in range(60)]
    (tmp_path / "mixed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = ("--set", "model.backend=encoder", "--set", f"model.path={out}")
    asked = ("calibrate", *model, "--data", str(tmp_path / "mixed.jsonl"), "-o")
    refused = CliRunner().invoke(app, [*asked, str(tmp_path / "c.yaml")])
    assert refused.exit_code == 2
    assert "mixed.jsonl: the model was trained on 27 of 90 texts (lines 1, " in refused.output
    assert not (tmp_path / "c.yaml").exists()
    done = CliRunner().invoke(app, [*asked, str(tmp_path / "c.yaml"), "--skip-trained"])
    assert done.exit_code == 0, done.output
    assert "27 texts that the model was trained on are left out" in done.output
    assert "3 texts were held out in training" in done.output
    assert CalibrationFile.read(tmp_path / "c.yaml").evidence.items == 63


@pytest.mark.parametrize("where", ["--data", "--dev"])
def test_conversations_are_refused_with_what_to_do(tmp_path: Path, where: str) -> None:
    plain = [{"text": f"{label} {n}", "label": label} for n in range(20) for label in ("a", "b")]
    pairs = [{"messages": [row["text"], "x"], "label": row["label"]} for row in plain]
    (tmp_path / "plain.jsonl").write_text("".join(json.dumps(row) + "\n" for row in plain))
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    names = {"--data": "plain", "--dev": "plain"} | {where: "pairs"}
    files = [part for option, name in names.items() for part in (option, f"{name}.jsonl")]
    given = [tmp_path / part if part.endswith(".jsonl") else part for part in files]
    code, said = run(*given, "--base", tmp_path, "--out", tmp_path / "m")
    assert code == 2
    assert "pairs.jsonl, line 1: the text is a conversation; train encoder learns single" in said
