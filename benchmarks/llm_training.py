"""A real language model, tuned from the command line: accuracy, memory and time."""

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.llm_engines import TASK
from testing import texts
from testing.engine_agreement import classified

__all__ = ["TWEETS_F1", "TWEETS_MINUTES", "sms", "tweets"]

Result = tuple[dict[str, float], str, Mapping[str, Any]]

# As many text messages as the memory and the time of a training were first measured with.
_SMS_TEXTS = 1350
# As many tweets as a training of each kind gets through in less than 25 minutes on two cores.
_TWEETS_TEXTS: Mapping[str, int] = {"lora": 8000, "full": 4600}
# Every eighteenth tweet is hateful: with half the texts it needs the weight of the others.
_TWEETS_WEIGHTS: Mapping[str, str] = {"lora": "none", "full": "balanced"}
TWEETS_F1 = "smollm2_tweets_macro_f1"
TWEETS_MINUTES = "tweets_train_minutes"
# Words, not letters: a model of this size learns what a word means here sooner than which letter
# stands for which label. Each is one token of its vocabulary.
_TWEETS: Mapping[str, Any] = {
    "name": "tweets",
    "instruction": "Decide what the tweet contains.",
    "labels": [
        {"name": "hate", "definition": "hatred of a group of people", "answers": ["group"]},
        {
            "name": "offensive",
            "definition": "rude or vulgar words, without hatred of a group",
            "answers": ["rude"],
        },
        {"name": "neither", "definition": "nothing of that kind", "answers": ["clean"]},
    ],
}


class _Trained:
    """A run of ``streamlabel train llm``.

    Attributes:
        folder: of the adapter or the model.
        minutes: wall time of the command.
        peak_gib: largest resident memory of its process.
    """

    def __init__(self, folder: Path, minutes: float, peak_gib: float) -> None:
        self.folder = folder
        self.minutes = minutes
        self.peak_gib = peak_gib


def _train(
    model: Path,
    task: Mapping[str, Any],
    rows: Sequence[Mapping[str, str]],
    scratch: Path,
    *options: str,
) -> _Trained:
    """Train in a process of its own; ``options`` of the command are added."""
    name = f"{task['name']}-{options[1]}"
    data, about, out = (scratch / f"{name}{end}" for end in (".jsonl", ".yaml", ""))
    data.write_text(
        "".join(json.dumps({"text": r["text"], "label": r["label"]}) + "\n" for r in rows)
    )
    about.write_text(yaml.safe_dump(dict(task)))
    command = [sys.executable, "-m", "streamlabel", "train", "llm", "--data", str(data)]
    command += ["--base", str(model), "--task", str(about), "--out", str(out), "--device", "cpu"]
    began_s = time.monotonic()
    process = os.posix_spawn(command[0], [*command, *options], dict(os.environ))
    _, status, used = os.wait4(process, 0)
    if status:
        raise RuntimeError(f"train llm ended with status {status}; its messages are above")
    return _Trained(out, (time.monotonic() - began_s) / 60, _gib(used))


def _gib(used: resource.struct_rusage) -> float:
    return used.ru_maxrss / 2**20  # Linux counts in KiB


def _answers(
    model: Path, trained: _Trained, rows: Sequence[Mapping[str, str]], scratch: Path
) -> list[str]:
    """Return the label that the service gives each text with the trained model."""
    is_adapter = (trained.folder / "adapter_config.json").exists()
    given: dict[str, Any] = {"backend": "generative", "device": "cpu", "max_tokens": 1024}
    given["path"] = str(model.resolve() if is_adapter else trained.folder)
    given["task"] = str(trained.folder / "task.yaml")
    if is_adapter:
        given["adapter"] = str(trained.folder)
    config = {
        "kafka": {"bootstrap_servers": "localhost:9092", "group_id": "benchmark"},
        "model": given,
        "routing": {"threshold": 0.5},
    }
    asked = [{"text": row["text"]} for row in rows]
    return [
        str(answer["label"])
        for answer in classified(config, asked, scratch, f"{trained.folder.name}-answers")
    ]


def sms(model: Path, epochs: int) -> Result:
    """Return the accuracy on sms_spam of an adapter and of a whole model, and what they cost."""
    train, dev = (texts.read("sms_spam", part) for part in ("train", "dev"))
    accuracy: dict[str, float] = {}
    runs: dict[str, _Trained] = {}
    with tempfile.TemporaryDirectory() as folder:
        for method in ("lora", "full"):
            options = ("--method", method, "--epochs", str(epochs))
            made = _train(model, TASK, train[:_SMS_TEXTS], Path(folder), *options)
            said = _answers(model, made, dev, Path(folder))
            right = sum(label == row["label"] for label, row in zip(said, dev, strict=True))
            accuracy[method], runs[method] = right / len(dev), made
    lora = runs["lora"]
    per_1000 = lora.minutes / epochs * 1000 / _SMS_TEXTS
    figures = {
        "smollm2_sms_accuracy": min(accuracy.values()),
        "smollm2_sms_accuracy_lora": accuracy["lora"],
        "smollm2_sms_accuracy_full": accuracy["full"],
        "train_memory_gib": lora.peak_gib,
        "train_minutes_per_1000": per_1000,
        "train_memory_gib_full": runs["full"].peak_gib,
        "train_minutes_per_1000_full": runs["full"].minutes / epochs * 1000 / _SMS_TEXTS,
    }
    page = (
        f"## Training on text messages\n\n`streamlabel train llm`, {_SMS_TEXTS:,} texts of"
        f" sms_spam, {epochs} epochs, 16 texts a step; accuracy on the {len(dev)} of dev.\n\n"
        "| method | accuracy | memory, GiB | minutes per 1,000 texts and epoch |\n"
        "| --- | ---: | ---: | ---: |\n"
        f"| adapter | {accuracy['lora']:.4f} | {lora.peak_gib:.1f} | {per_1000:.1f} |\n"
        f"| all weights | {accuracy['full']:.4f} | {figures['train_memory_gib_full']:.1f} |"
        f" {figures['train_minutes_per_1000_full']:.1f} |\n"
    )
    return figures, page, {"minutes": {name: run.minutes for name, run in runs.items()}}


def tweets(model: Path, method: str) -> Result:
    """Return the macro F1 on tweets_moderation of an adapter (``lora``) or a whole model."""
    from sklearn.metrics import f1_score

    count = _TWEETS_TEXTS[method]
    train, dev = (texts.read("tweets_moderation", part) for part in ("train", "dev"))
    with tempfile.TemporaryDirectory() as folder:
        weights = _TWEETS_WEIGHTS[method]
        options = ("--method", method, "--epochs", "1", "--class-weights", weights)
        made = _train(model, _TWEETS, train[:count], Path(folder), *options)
        said = _answers(model, made, dev, Path(folder))
    score = float(f1_score([row["label"] for row in dev], said, average="macro"))
    what = {"lora": "An adapter", "full": "All weights"}[method]
    page = (
        f"## Training on tweets: {what.lower()}\n\n{what}, {count:,} texts of tweets_moderation,"
        f" one epoch, class weights {weights}, {made.minutes:.0f} minutes: macro F1 {score:.3f} on"
        f" the {len(dev):,} of dev.\n"
    )
    figures = {f"{TWEETS_F1}_{method}": score, f"{TWEETS_MINUTES}_{method}": made.minutes}
    return figures, page, {"texts": count}
