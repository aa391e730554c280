"""A command of ours on a simulated NPU, in a process of its own, and what happened there."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

__all__ = ["FOLDER", "differences", "run"]

FOLDER = Path(__file__).parent / "npu"  # of the package that is in place of torch_npu
_ROOT = Path(__file__).parent.parent


def run(
    *command: str | Path, folder: Path, **device: int
) -> tuple[subprocess.CompletedProcess[str], list[dict[str, Any]]]:
    """Run ``python -m streamlabel`` where torch_npu is the simulated one.

    Args:
        command: after ``streamlabel``.
        folder: the working directory.
        device: of the simulated device: ``devices``, ``bytes``, ``lost_after``.

    Returns:
        The finished process, and one report for each process that used the device.
    """
    reports = folder / "npu"
    shutil.rmtree(reports, ignore_errors=True)
    reports.mkdir()
    told = {f"SIMULATED_NPU_{name.upper()}": str(value) for name, value in device.items()}
    paths = os.pathsep.join([str(FOLDER), str(_ROOT)])
    told |= {"PYTHONPATH": paths, "SIMULATED_NPU_REPORT": str(reports)}
    done = subprocess.run(
        [sys.executable, "-m", "streamlabel", *map(str, command)],
        env=os.environ | told,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done, [json.loads(path.read_text()) for path in sorted(reports.iterdir())]


def differences(
    models: Mapping[str, Mapping[str, Any]],
    texts: Sequence[str],
    folder: Path,
    device: str = "npu",
    *,
    batches: tuple[int, int] = (512, 512),
) -> dict[str, float]:
    """Return the largest difference of a probability between the simulated device and the CPU.

    Rows that are computed together change the order of summation, and which ones these are is
    chosen by the cost of a call, so it is another choice on each device.

    Args:
        models: name -> section ``model``, without a device.
        texts: to classify.
        folder: for the files.
        device: ``npu`` or ``npu:N``; ``cpu``: the CPU again.
        batches: texts of a batch on the CPU and on the device.
    """
    (folder / "in.jsonl").write_text("".join(json.dumps({"text": each}) + "\n" for each in texts))
    found = {}
    for name, model in models.items():
        answers = []
        for where, size in zip(("cpu", device), batches, strict=True):
            config = {
                "batching": {"max_batch_items": size},
                "kafka": {"bootstrap_servers": "localhost:9092", "group_id": "npu"},
                "model": {**model, "device": where, "dtype": "float32"},
                "routing": {"threshold": 0.5},
            }
            (folder / "config.yaml").write_text(yaml.safe_dump(config))
            out = folder / "out.jsonl"
            out.unlink(missing_ok=True)
            command = ("classify", "-c", "config.yaml", "--file", "in.jsonl", "--out", "out.jsonl")
            done, reports = run(*command, folder=folder)
            if done.returncode:
                raise RuntimeError(f"{name} on {where}: {done.stderr[-3000:]}")
            used = {key for report in reports for key in report if key.startswith("operators on")}
            number = where.partition(":")[2] or "0"
            expected = {f"operators on npu:{number}"} if where != "cpu" else set()
            if used != expected:
                raise RuntimeError(f"{name} on {where}: it computed on {sorted(used)}")
            answers.append([json.loads(line) for line in out.read_text().splitlines()])
        if any(len(rows) != len(texts) for rows in answers):
            raise RuntimeError(f"{name}: not one outcome a text")
        found[name] = _difference(*answers)
    return found


def _difference(one: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]]) -> float:
    largest = 0.0
    compared = 0
    for a, b in zip(one, other, strict=True):
        ours, theirs = (row.get("probabilities") for row in (a, b))  # none in a dead letter
        if (ours is None) != (theirs is None):
            raise RuntimeError("one of the devices gave no probabilities")
        if ours is None or theirs is None:
            continue
        for label, value in ours.items():
            largest = max(largest, abs(value - theirs[label]))
            compared += 1
    if not compared:
        raise RuntimeError("no text has probabilities, so nothing was compared")
    return largest
