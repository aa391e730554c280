"""The Chinese models of the quality table, made and measured by the commands of docs/training.md.

The page is the script: its blocks are run as they stand there, in a folder with the texts of a data
set. What is interrupted goes on at the next run: finished commands are not repeated, and a training
is continued.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import results_file

__all__ = ["BLOCKS", "blocks_of_page", "measured", "run_commands"]

_PAGE: Final = Path(__file__).parents[1] / "docs" / "training.md"
_SECTION: Final = "## A language without a pretrained model"
_DATA: Final = Path(os.environ.get("STREAMLABEL_DATA", "../shared/data"))
# Data set -> the blocks of the section that are run for it.
BLOCKS: Final[Mapping[str, tuple[int, ...]]] = {
    "hotel_reviews_zh": (0, 2),
    "shopping_category_zh": (1, 2),
}


@dataclass(frozen=True, slots=True)
class _Done:
    """A command that has ended.

    Attributes:
        seconds: how long it took.
        said: what it printed.
        report: of ``evaluate``; empty for the others.
    """

    command: str
    seconds: float
    said: str
    report: Mapping[str, Any]


def blocks_of_page(page: str) -> list[list[str]]:
    """Return the commands of each block of the section."""
    section = page.partition(_SECTION)[2].partition("\n## ")[0]
    found = re.findall(r"^```console\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    return [re.findall(r"^\$ (.*)$", block, re.MULTILINE) for block in found]


def run_commands(work: Path, *, limit: int | None) -> None:
    """Run the commands for both data sets, and write ``results/quality_commands``.

    Args:
        work: folder for the models; what is finished there is not run again.
        limit: texts of a data set, for a smoke run, of which nothing is written.
    """
    blocks = blocks_of_page(_PAGE.read_text(encoding="utf-8"))
    done: dict[str, list[_Done]] = {}
    for name, places in BLOCKS.items():
        folder = work / "commands" / name
        folder.mkdir(parents=True, exist_ok=True)
        for part in ("train", "dev"):
            lines = (_DATA / name / f"{part}.jsonl").read_bytes().splitlines(keepends=True)
            (folder / f"{part}.jsonl").write_bytes(b"".join(lines[:limit]))
        commands = [command for place in places for command in blocks[place]]
        done[name] = [_run(folder, i, command) for i, command in enumerate(commands)]
    if limit is None:
        results_file.write(
            "quality_commands",
            command="python -m benchmarks.quality --only commands",
            figures=_figures(done),
            page=_page(done),
            details={
                "commands": {
                    name: [{"command": d.command, "seconds": round(d.seconds, 1)} for d in each]
                    for name, each in done.items()
                }
            },
        )


def measured(report: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of an evaluation that are stored."""
    found, accepted = report["evaluation"], report["accepted"]
    return {
        "accuracy": found["accuracy"]["value"],
        "macro_f1": found["macro_f1"]["value"],
        "excess_calibration_error": found["calibration"]["excess"],
        "coverage": accepted["accepted"] / accepted["texts"],
        "accepted_error": accepted["wrong"] / max(1, accepted["accepted"]),
    }


def _run(folder: Path, place: int, command: str) -> _Done:
    kept = folder / f"done-{place}.json"
    if kept.is_file():
        found = json.loads(kept.read_text(encoding="utf-8"))
        if found["command"] == command:
            return _Done(**found)
    print(f"{folder.name}: {command}", flush=True)
    more = ""
    if command.startswith("streamlabel train encoder") and (folder / "model.training").is_dir():
        more = " --resume"
    elif command.startswith("streamlabel train "):
        more = " --overwrite"  # of a run that ended before it was noted
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    began_s = time.monotonic()
    ended = subprocess.run(
        ["bash", "-c", command + more],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    said = ended.stdout + ended.stderr
    if ended.returncode:
        raise SystemExit(f"{command}\n{said}\nended with {ended.returncode}")
    report = folder / "report" / "report.json"
    is_evaluation = command.startswith("streamlabel evaluate")
    done = {
        "command": command,
        "seconds": time.monotonic() - began_s,
        "said": said,
        "report": json.loads(report.read_text(encoding="utf-8")) if is_evaluation else {},
    }
    kept.write_text(json.dumps(done, ensure_ascii=False), encoding="utf-8")
    return _Done(**done)


def _evaluations(done: Sequence[_Done]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the figures on all of dev, and with a calibration on a part of it."""
    whole, calibrated = [measured(each.report) for each in done if each.report]
    return whole, calibrated


def _figures(done: Mapping[str, Sequence[_Done]]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, each in done.items():
        whole, calibrated = _evaluations(each)
        figures[f"{name}_accuracy"] = whole["accuracy"]
        figures[f"{name}_macro_f1"] = whole["macro_f1"]
        figures |= {f"{name}_calibrated_{key}": value for key, value in calibrated.items()}
        figures[f"{name}_training_s"] = _training_s(each)
    return figures


def _training_s(done: Sequence[_Done]) -> float:
    return sum(each.seconds for each in done if each.command.startswith("streamlabel train "))


def _page(done: Mapping[str, Sequence[_Done]]) -> str:
    rows = []
    for name, each in done.items():
        whole, calibrated = _evaluations(each)
        rows.append(
            f"| {name} | {whole['accuracy']:.4f} | {whole['macro_f1']:.4f} |"
            f" {calibrated['excess_calibration_error']:.4f} | {calibrated['coverage']:.1%} |"
            f" {calibrated['accepted_error']:.1%} | {_training_s(each):.0f} s |"
        )
    return "\n".join(
        [
            "The commands of [training](../../docs/training.md) for a language without a pretrained"
            " model, run as\nthey stand there. Accuracy and macro F1 on all of dev; calibrated on"
            " the first 500 texts of dev with a\ntarget error of 5 %, and measured on the others.",
            "",
            "| data | accuracy | macro F1 | calibration error above chance | accepted |"
            " accepted error | training |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
            *rows,
        ]
    )
