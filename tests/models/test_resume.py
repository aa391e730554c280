"""A training that was stopped goes on as if it had not been: bit for bit, or not at all."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from streamlabel.__main__ import app
from streamlabel.commands import training_runs
from streamlabel.config.model import GenerativeSettings
from streamlabel.errors import ConfigError
from streamlabel.models.core.labels import LabelSet
from streamlabel.models.files.checkpoint import open_checkpoint, open_folder
from streamlabel.progress import progress
from streamlabel.training.answer_fit import Lora, fit_answers
from streamlabel.training.fit_settings import EpochReport, Example, FitReport, FitSettings
from streamlabel.training.head import fit_head
from streamlabel.training.state_files import read_tensors, write_tensors
from streamlabel.training.training_loop import run_epochs
from streamlabel.training.training_origin import origin_of
from streamlabel.training.training_rows import TrainingRows
from streamlabel.training.training_run import Course
from streamlabel.training.training_state import TrainingState
from tests.models.test_prompts import SPAM, task
from tests.models.tiny import build_model

pytestmark = pytest.mark.model

LABELS = LabelSet(("good", "bad"))
WORDS = ("match", "stock", "rain", "match !", "the stock", "a rain .")
TRAIN = [Example(f"{label} {word}", label) for word in WORDS for label in LABELS.names]
HELD = [Example("good !", "good"), Example("bad !", "bad")]
SETTINGS = FitSettings(
    epochs=3, learning_rate=3e-3, batch_items=5, trained_layers=None, label_smoothing=0.0,
    patience=3, max_tokens=32,
)  # fmt: skip
TEACH = [
    Example(f"{greeting} {what}", label)
    for greeting in ("Hello", "Call now", "Stop")
    for what, label in (("you have won a prize!", "spam"), ("the message", "ham"))
]
TAUGHT = FitSettings(
    epochs=2, learning_rate=5e-3, batch_items=3, max_tokens=400, label_smoothing=0.0, patience=2
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums of several threads have no fixed order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder with random weights; it has dropout, as all have."""
    return build_model(tmp_path_factory.mktemp("encoder"), labels=None, num_labels=2)


def same(one: Path, other: Path) -> bool:
    """Return whether two files have equal tensors, to the last bit."""
    first, second = load_file(one), load_file(other)
    return first.keys() == second.keys() and all(
        tensor.numpy().tobytes() == second[name].numpy().tobytes() for name, tensor in first.items()
    )


def in_pieces(fit: Callable[..., FitReport], state: Callable[[], TrainingState]) -> FitReport:
    """Stop a training after every step and every epoch, and go on each time in a new one."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    for _ in range(100):
        try:
            report = fit(state=state(), on_step=stop, on_epoch=stop)
        except KeyboardInterrupt:
            continue
        if not report.was_interrupted:
            return report
    raise AssertionError("it never ends")


@pytest.mark.parametrize("layers", [None, 1], ids=["all layers", "upper layer"])
def test_an_encoder_in_pieces_is_the_one_of_a_single_run(
    encoder: Path, tmp_path: Path, layers: int | None
) -> None:
    settings = replace(SETTINGS, trained_layers=layers)

    def fit(folder: str, **given: Any) -> FitReport:  # noqa: ANN401 the callbacks
        return fit_head(
            TRAIN, LABELS, encoder=encoder, folder=tmp_path / folder, settings=settings,
            held_out=HELD, **given,
        )  # fmt: skip

    whole = fit("whole")
    pieces = in_pieces(
        lambda **given: fit("pieces", **given), lambda: TrainingState(tmp_path / "state", {})
    )
    assert same(whole.folder / "model.safetensors", pieces.folder / "model.safetensors")
    assert pieces.epochs == whole.epochs
    assert pieces.steps == whole.steps == 9


@pytest.mark.parametrize("lora", [None, Lora(rank=4)], ids=["full", "lora"])
def test_a_language_model_in_pieces_is_the_one_of_a_single_run(
    tiny_llm: Path, tmp_path: Path, lora: Lora | None
) -> None:
    model = {"path": str(tiny_llm), "task": task(), "device": "cpu", "max_tokens": 400}
    base = open_checkpoint(GenerativeSettings.model_validate(model))

    def fit(folder: str, **given: Any) -> FitReport:  # noqa: ANN401 the callbacks
        return fit_answers(
            TEACH, task(), base=base, folder=tmp_path / folder, settings=TAUGHT, lora=lora,
            held_out=TEACH[:2], device="cpu", **given,
        )  # fmt: skip

    whole = fit("whole")
    pieces = in_pieces(
        lambda **given: fit("pieces", **given), lambda: TrainingState(tmp_path / "state", {})
    )
    name = "model.safetensors" if lora is None else "adapter_model.safetensors"
    assert same(whole.folder / name, pieces.folder / name)
    assert pieces.epochs == whole.epochs


def test_a_crash_costs_no_more_than_since_the_last_state(encoder: Path, tmp_path: Path) -> None:
    """A crash, unlike Ctrl-C, writes no state; the last one is what there is."""

    def crash(done: int, _total: int) -> None:
        if done == 5:
            raise RuntimeError("power")

    def fit(folder: str, **given: Any) -> FitReport:  # noqa: ANN401 the callbacks
        return fit_head(
            TRAIN, LABELS, encoder=encoder, folder=tmp_path / folder, settings=SETTINGS,
            held_out=HELD, **given,
        )  # fmt: skip

    whole = fit("whole")
    state = tmp_path / "state"
    with pytest.raises(RuntimeError, match="power"):
        fit("again", on_step=crash, state=TrainingState(state, {}, period_s=0.0))
    found = TrainingState(state, {}).position()
    assert found is not None
    assert 1 <= found["steps"] <= 5
    again = fit("again", state=TrainingState(state, {}))
    assert same(whole.folder / "model.safetensors", again.folder / "model.safetensors")


@pytest.fixture(scope="module")
def stopped(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of a training that was stopped after its first epoch."""
    folder = tmp_path_factory.mktemp("stopped")

    def stop(_: EpochReport) -> None:
        raise KeyboardInterrupt

    fit_head(
        TRAIN, LABELS, encoder=encoder, folder=folder / "m", settings=SETTINGS, held_out=HELD,
        on_epoch=stop, state=TrainingState(folder / "state", about(encoder)),
    )  # fmt: skip
    return folder / "state"


def about(
    encoder: Path, settings: FitSettings = SETTINGS, examples: list[Example] = TRAIN
) -> dict[str, Any]:
    return origin_of(
        examples, HELD, base=open_folder(encoder), settings=settings, more={"labels": LABELS.names}
    )


def test_a_state_is_safetensors_and_json_and_nothing_else(stopped: Path) -> None:
    names = sorted(path.name for path in stopped.iterdir())
    assert names == ["best-1.safetensors", "now-3.safetensors", "state.json"]
    for path in stopped.glob("*.safetensors"):
        assert load_file(path)
    assert json.loads((stopped / "state.json").read_text())


def test_a_state_of_another_training_is_refused_with_what_differs(
    encoder: Path, stopped: Path, tmp_path: Path
) -> None:
    assert TrainingState(stopped, about(encoder)).position() is not None
    longer = replace(SETTINGS, minutes=5.0)
    assert TrainingState(stopped, about(encoder, longer)).position() is not None
    other = replace(SETTINGS, learning_rate=1e-3, class_weights="balanced")
    with pytest.raises(ConfigError) as refused:
        TrainingState(stopped, about(encoder, other, TRAIN[:-1])).read()
    said = str(refused.value)
    assert "the training texts" in said
    assert "learning_rate 0.003, now 0.001" in said
    assert "class_weights none, now balanced" in said
    assert "the base" not in said
    assert f"delete {stopped}" in said
    another = build_model(tmp_path / "base", labels=None, num_labels=2, hidden_size=16)
    with pytest.raises(ConfigError, match=r"What differs: the base\. Go on"):
        TrainingState(stopped, about(another)).read()


@pytest.mark.parametrize("name", ["state.json", "now-3.safetensors", "best-1.safetensors"])
@pytest.mark.parametrize("how", ["flipped", "cut", "gone"])
def test_a_damaged_state_is_refused_with_what_to_delete(
    encoder: Path, stopped: Path, tmp_path: Path, name: str, how: str
) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    for path in stopped.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    content = bytearray((folder / name).read_bytes())
    if how == "flipped":
        content[len(content) // 2] ^= 1
    if how == "gone":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content[: -9 if how == "cut" else None])
    state = TrainingState(folder, about(encoder))
    if (name, how) == ("state.json", "gone"):
        assert state.read() is None
        return
    with pytest.raises(ConfigError, match=rf"{name} is damaged .* delete .*state to begin again"):
        state.read()


def test_states_are_written_at_intervals_and_never_take_a_large_part_of_the_time(
    tmp_path: Path,
) -> None:
    state = TrainingState(tmp_path / "s", {}, period_s=100.0)
    assert not state.is_due(0.0)
    assert not state.is_due(99.9)
    assert state.is_due(100.0)
    assert state.is_due(5.0, ends_epoch=True)
    times = iter((200.0, 206.0))  # six seconds to write
    state.write(saved(), clock=lambda: next(times))
    assert not state.is_due(206.0 + 119.9)
    assert not state.is_due(206.0 + 119.9, ends_epoch=True)
    assert state.is_due(206.0 + 120.0, ends_epoch=True)
    assert state.is_due(206.0 + 120.0)


def saved(steps: int = 1) -> Any:  # noqa: ANN401 a state
    from streamlabel.training.training_state import Saved

    return Saved({"weights/a": torch.ones(2)}, None, 0, {"steps": steps})


def test_a_full_disk_does_not_end_a_training(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "taken").write_text("a file where the folder should be")
    state = TrainingState(tmp_path / "taken", {}, say=said.append)
    state.write(saved(), clock=time.monotonic)
    assert len(said) == 1
    assert "cannot be written" in said[0]
    with pytest.raises(OSError, match="No such file"):
        write_tensors(tmp_path / "gone", "a.safetensors", {"a": torch.ones(2)})


def test_tensors_that_share_memory_are_written_each(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    kept = write_tensors(tmp_path, "a.safetensors", {"a": whole, "b": whole[:3], "c": whole})
    found = read_tensors(tmp_path, kept)
    assert torch.equal(found["a"], whole)
    assert torch.equal(found["b"], whole[:3])
    assert torch.equal(found["c"], whole)


def test_other_libraries_are_told(tmp_path: Path) -> None:
    said: list[str] = []
    TrainingState(tmp_path, {}, versions={"torch": "1"}).write(saved(), clock=time.monotonic)
    found = TrainingState(tmp_path, {}, versions={"torch": "2"}, say=said.append).read()
    assert found is not None
    assert torch.equal(found.now["weights/a"], torch.ones(2))
    assert "torch 1, this is 2; results may differ in the last digits" in said[0]


class Mean(torch.nn.Module):
    """The smallest classifier of token ids."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(8, 2)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        """Return logits (B, 2)."""
        del attention_mask
        return SimpleNamespace(logits=self.table(input_ids).mean(dim=1))


def test_the_time_before_an_interruption_counts(tmp_path: Path) -> None:
    rows = TrainingRows([torch.tensor([1, 2]), torch.tensor([3, 4])], torch.eye(2))
    settings = FitSettings(epochs=10, minutes=1.0, patience=10)
    now_s = [0.0]

    def fit(on_epoch: Callable[[EpochReport], None]) -> Course:
        torch.manual_seed(1)
        return run_epochs(
            Mean(), rows, rows, settings=settings, problem_type="single_label",
            on_step=None, on_epoch=on_epoch, state=TrainingState(tmp_path / "s", {}),
            now_s=lambda: now_s[0],
        )  # fmt: skip

    def passes(_: EpochReport) -> None:
        now_s[0] += 25.0

    def stops(epoch: EpochReport) -> None:
        passes(epoch)
        raise KeyboardInterrupt

    assert len(fit(stops).epochs) == 1
    # after two epochs of 25 s, a third one would end after 75 s
    assert len(fit(passes).epochs) == 2


# The command


def run(*arguments: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["train", "encoder", *map(str, arguments)])
    return done.exit_code, done.stderr


@pytest.fixture
def given(encoder: Path, tmp_path: Path) -> list[str | Path]:
    """Options that a training needs, with 36 texts, of which three are held out."""
    path = tmp_path / "train.jsonl"
    rows = [{"text": f"{e.text} {i}", "label": e.label} for i, e in enumerate(TRAIN * 3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ["--data", path, "--base", encoder, "--batch", "8", "--learning-rate", "3e-3"]


def stopping(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Press Ctrl-C after this many epochs, of whatever seed."""
    seen: list[EpochReport] = []

    def line(epoch: EpochReport) -> str:
        seen.append(epoch)
        if len(seen) == at:
            signal.raise_signal(signal.SIGINT)
        return f"epoch {epoch.number}"

    monkeypatch.setattr(training_runs, "line", line)


def test_the_command_goes_on_where_it_was_stopped(
    given: list[str | Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = [*given, "--epochs", "4", "--patience", "4"]
    assert run(*fit, "--out", tmp_path / "whole")[0] == 0
    assert not (tmp_path / "whole.training").exists()
    with monkeypatch.context() as patched:
        stopping(patched, 2)
        code, said = run(*fit, "--out", tmp_path / "m")
    assert code == 130
    assert f"interrupted; the best epoch so far is in {tmp_path / 'm'}; --resume goes on" in said
    assert "It was interrupted" in (tmp_path / "m" / "README.md").read_text()
    assert (tmp_path / "m.training" / "seed-17" / "state.json").is_file()
    for more in ([], ["--overwrite"]):
        code, said = run(*fit, "--out", tmp_path / "m", *more)
        assert code == 2
        assert "m.training has the state of a training that was stopped; go on with --r" in said
    code, said = run(*fit, "--out", tmp_path / "m", "--resume", "--class-weights", "balanced")
    assert code == 2
    assert "What differs: class_weights none, now balanced. Go on with" in said
    code, said = run(*fit, "--out", tmp_path / "m", "--resume")
    assert code == 0, said
    assert "goes on after step 10 of 20; 2 epochs have ended" in said
    assert same(tmp_path / "whole/model.safetensors", tmp_path / "m/model.safetensors")
    assert "It was interrupted" not in (tmp_path / "m" / "README.md").read_text()
    assert not (tmp_path / "m.training").exists()
    code, said = run(*fit, "--out", tmp_path / "m", "--resume")
    assert code == 2, "never over a model"


def test_resume_begins_where_there_is_no_state(given: list[str | Path], tmp_path: Path) -> None:
    code, said = run(*given, "--out", tmp_path / "m", "--epochs", "1", "--resume")
    assert code == 0, said
    assert "there is no state in" in said
    assert (tmp_path / "m" / "model.safetensors").is_file()


def test_before_the_first_epoch_it_says_what_there_is(
    given: list[str | Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = training_runs._Stop.check

    def stop(self: training_runs._Stop) -> None:
        signal.raise_signal(signal.SIGTERM)
        check(self)

    with monkeypatch.context() as patched:
        patched.setattr(training_runs._Stop, "check", stop)
        code, said = run(*given, "--out", tmp_path / "m")
    assert code == 130
    assert "there is no model yet; --resume goes on after step 1 of 40" in said
    assert not (tmp_path / "m").exists()
    monkeypatch.setattr(training_runs._Stop, "check", lambda _: signal.raise_signal(2))
    code, said = run(*given, "--out", tmp_path / "n")
    assert code == 130
    assert not (tmp_path / "n").exists()


def test_the_best_of_several_seeds_is_kept_and_all_are_reported(
    given: list[str | Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = [*given, "--epochs", "2", "--seeds", "17,5,23"]
    code, said = run(*fit, "--out", tmp_path / "whole")
    assert code == 0, said
    assert "3 seeds: accuracy mean " in said
    assert "they chose the epoch and the seed, so it is optimistic" in said
    card = (tmp_path / "whole" / "README.md").read_text()
    assert [line.split("|")[1].strip() for line in card.splitlines() if "| yes |" in line][-1] in {
        "17", "5", "23",
    }  # fmt: skip
    for name in ("17", "5", "23", "mean", "standard deviation"):
        assert f"\n| {name} | " in card
    assert not (tmp_path / "whole.training").exists()
    with monkeypatch.context() as patched:
        stopping(patched, 3)  # the first epoch of the second seed
        code, said = run(*fit, "--out", tmp_path / "m")
    assert code == 130, said
    assert (tmp_path / "m" / "model.safetensors").is_file()
    code, said = run(*fit, "--out", tmp_path / "m", "--resume")
    assert code == 0, said
    assert same(tmp_path / "whole/model.safetensors", tmp_path / "m/model.safetensors")


def test_a_log_shows_progress_once_a_minute_and_the_image_can_read_the_model(
    given: list[str | Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = partial(progress, first_s=0.001, is_terminal=False)
    monkeypatch.setattr(training_runs, "progress", early)
    out = tmp_path / "m"
    code, said = run(*given, "--out", out, "--minutes", "0.000001", "--class-weights", "balanced")
    assert code == 0, said
    assert len(re.findall(r"^training: \d+ of 40", said, re.MULTILINE)) == 1
    assert "epoch 1: " in said
    assert "epoch 2: " not in said, "it would end too late"
    assert re.search(r"accuracy [01]\.\d{3}, macro F1 .* on the 3 held-out texts; they chose", said)
    for path in out.iterdir():
        assert path.stat().st_mode & 0o044 == 0o044, path.name
    card = (out / "README.md").read_text()
    assert "class weights: balanced" in card
    assert re.search(r"^\| 1 \| [\d.]+ \| [\d.]+ \| [01]\.\d{4} \| ", card, re.MULTILINE)
    source = r"^\| train.jsonl \| 36 labelled texts \| `[0-9a-f]{64}` \|$"
    assert re.search(source, card, re.MULTILINE)
    assert "\n    streamlabel " in card


def test_a_number_of_seeds_that_nobody_means_is_refused(
    given: list[str | Path], tmp_path: Path
) -> None:
    for seeds in ("0", "101", "many", "1,,2"):
        code, said = run(*given, "--out", tmp_path / "m", "--seeds", seeds)
        assert code == 2
        assert f"--seeds {seeds}: " in said


def test_a_language_model_goes_on_and_has_a_card(
    tiny_llm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "task.yaml").write_text(json.dumps(SPAM))
    rows = [{"text": f"{e.text} {n}", "label": e.label} for n in range(4) for e in TEACH]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    fit = ["train", "llm", "--data", data, "--base", tiny_llm, "--task", tmp_path / "task.yaml"]
    fit += ["--device", "cpu", "--max-tokens", "400", "--epochs", "2", "--batch", "12"]

    def command(*more: str | Path) -> tuple[int, str]:
        done = CliRunner().invoke(app, [str(each) for each in (*fit, *more)])
        return done.exit_code, done.stderr

    assert command("--out", tmp_path / "whole")[0] == 0
    with monkeypatch.context() as patched:
        stopping(patched, 1)
        code, said = command("--out", tmp_path / "m")
    assert code == 130, said
    code, said = command("--out", tmp_path / "m", "--resume", "--rank", "8")
    assert code == 2
    assert "What differs: rank 16, now 8." in said
    assert command("--out", tmp_path / "m", "--resume")[0] == 0
    name = "adapter_model.safetensors"
    assert same(tmp_path / "whole" / name, tmp_path / "m" / name)
    card = (tmp_path / "m" / "README.md").read_text()
    assert "| data.jsonl | 24 labelled texts |" in card
    assert "\n    streamlabel " in card


def test_a_killed_training_goes_on(given: list[str | Path], tmp_path: Path) -> None:
    fit = [*map(str, given), "--epochs", "15", "--patience", "15"]
    command = [sys.executable, "-m", "streamlabel", "train", "encoder", *fit]
    state = tmp_path / "m.training" / "seed-17" / "state.json"
    with subprocess.Popen(
        [*command, "--out", str(tmp_path / "m")],
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as training:
        while not state.exists() and training.poll() is None:
            time.sleep(0.01)
        training.kill()
    assert training.returncode == -signal.SIGKILL
    assert not (tmp_path / "m").exists()
    code, said = run(*fit, "--out", tmp_path / "m", "--resume")
    assert code == 0, said
    assert "goes on after step" in said
    assert run(*fit, "--out", tmp_path / "whole")[0] == 0
    assert same(tmp_path / "whole/model.safetensors", tmp_path / "m/model.safetensors")
