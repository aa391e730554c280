"""The last step of the tutorial, as printed there: a refit from verdicts, and what it changes."""

import re
import runpy
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamlabel.__main__ import app

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples/refit/simulate.py"


def shape(text: str) -> str:
    """Return the text without its figures, whose last digits depend on the machine."""
    return re.sub(r"-?[\d.,]*\d", "#", text)


def test_the_refit_of_the_tutorial_prints_and_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    simulation = runpy.run_path(str(SCRIPT))
    simulation["write"]()
    written = capsys.readouterr().out
    options = ("--verdicts", "verdicts.jsonl", "--out", "learned.yaml")
    done = CliRunner().invoke(app, ["learn", "-c", "streamlabel.yaml", *options])
    assert done.exit_code == 0, done.output
    simulation["measure"](tmp_path / "learned.yaml")
    effect = capsys.readouterr().out
    page = (ROOT / "docs/tutorial.md").read_text()
    block = page[page.index("$ python examples/refit/simulate.py") :].split("```")[0]
    printed = [line for line in block.splitlines() if not line.startswith("$")]
    said = (written + done.stdout + done.stderr + effect).splitlines()
    assert sorted(map(shape, said)) == sorted(map(shape, printed))
    before, after = (
        [float(number) for number in re.findall(r"-?\d+\.\d", line)] for line in effect.splitlines()
    )
    assert before[1] > 5 >= after[1]  # the target error, broken and held
    assert abs(after[2]) < 2 < before[2]  # points between confidence and accuracy
