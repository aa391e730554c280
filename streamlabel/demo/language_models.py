"""The demo's second half: the same texts, answered by language models beside the encoder.

One small language model, asked in two ways: tuned to some of the encoder's training texts, for one
token; and as it is, for a score of every class.
"""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Final

import yaml
from rich.console import Console
from rich.text import Text

from streamlabel.config.model import GenerativeSettings
from streamlabel.consumer.observability.columns import Column, Columns
from streamlabel.demo.samples import LABELS, Sample, stream_samples, training_examples
from streamlabel.demo.screen import shown
from streamlabel.demo.small_llm import fetch_small_llm
from streamlabel.models.devices.compute_type import fastest_precision
from streamlabel.models.files.checkpoint import open_checkpoint
from streamlabel.progress import progress
from streamlabel.tools.in_process import Result, classify, load_settings
from streamlabel.training.answer_fit import Lora, fit_answers
from streamlabel.training.fit_settings import Example, FitSettings, default_rate

__all__ = ["compare_llms"]

_LORA: Final = Lora()
_SETTINGS: Final = FitSettings(
    epochs=2,
    batch_items=8,
    pass_tokens=1024,
    max_tokens=512,
    label_smoothing=0.0,
)
# What the tuned model answers with: a small model learns what a word means here long before it
# learns which letter stands for which label. Each is one token of its vocabulary.
_WORDS: Final[Mapping[str, str]] = {
    "ok": "ok",
    "spam": "advert",
    "scam": "money",
    "harassment": "rude",
    "prohibited": "drug",
}
# What is asked, in the order of the columns, and how.
_WAYS: Final[Mapping[str, str]] = {
    "encoder": "MiniLM with a head fitted to the sample texts",
    "tuned": "SmolLM2-135M with an adapter fitted to some of them, one token a text",
    "prompted": "SmolLM2-135M as it is, which writes a score for every class",
}
_COLUMNS: Final = (
    Column("IS", 10),
    *(Column(way.upper(), 15) for way in _WAYS),
    Column("TEXT"),
)


@dataclass(frozen=True, slots=True)
class _Answered:
    """What one way said, and how long it took with the start."""

    results: Sequence[Result]
    seconds: float


def compare_llms(
    console: Console, folder: Path, *, encoder: Path, texts: int = 40, taught: int = 200
) -> dict[str, int]:
    """Answer the same unseen texts in three ways and print them; return how many are right.

    Args:
        console: for the output.
        folder: for the language model and its adapter.
        encoder: folder of the fitted encoder.
        texts: how many to answer.
        taught: how many training texts the adapter is fitted to.

    Raises:
        StreamlabelError: the language model cannot be fetched, or a model cannot be loaded.
    """
    console.print("\nLanguage models: SmolLM2-135M-Instruct answers some of the same texts.")
    base = fetch_small_llm(folder, say=lambda said: console.print(f"  {said}"))
    task, words = _tasks(folder)
    adapter = _adapter(console, folder, base, words, count=taught)
    llm = {"model.path": str(base)}
    tuned = {"model.adapter": str(adapter), "model.max_tokens": str(_SETTINGS.max_tokens)}
    ways = {
        "encoder": {"model.backend": "encoder", "model.path": str(encoder)},
        "tuned": {"model.backend": "generative", "model.task": str(words), **tuned, **llm},
        "prompted": {
            "model.backend": "prompted", "model.task": str(task), "model.max_tokens": "1024", **llm,
        },
    }  # fmt: skip
    samples = [sample for sample in stream_samples() if sample.label is not None][:texts]
    answers = {way: _ask(console, way, given, samples) for way, given in ways.items()}
    _print(console, samples, answers)
    return {way: _right(answers[way], samples) for way in answers}


def _tasks(folder: Path) -> tuple[Path, Path]:
    """Write the task to the demo's folder, for the user to read: as it is, and with words."""
    task, words = folder / "task.yaml", folder / "task-words.yaml"
    text = (files("streamlabel.demo") / "samples" / "task.yaml").read_text("utf-8")
    task.write_text(text)
    with_words = yaml.safe_load(text)
    if _WORDS:
        with_words.pop("answer_with", None)
        for label in with_words["labels"]:
            label["answers"] = [_WORDS[label["name"]]]
    words.write_text(yaml.safe_dump(with_words, sort_keys=False, allow_unicode=True))
    return task, words


def _adapter(console: Console, folder: Path, base: Path, task: Path, *, count: int) -> Path:
    """Return the adapter for these texts and this task; fit it first if it does not exist."""
    examples = _balanced(training_examples(), count)
    taught = [asdict(example) for example in examples]
    serving = GenerativeSettings.model_validate({"path": str(base), "task": str(task)})
    checkpoint = open_checkpoint(serving)
    rate = default_rate("lora", checkpoint.hidden_size)  # as `streamlabel train llm`
    settings = replace(_SETTINGS, learning_rate=rate)
    learned_from = [asdict(settings), asdict(_LORA), task.read_text("utf-8"), taught]
    digest = hashlib.sha256(json.dumps(learned_from).encode()).hexdigest()[:12]
    place = folder / f"smollm2-marketplace-{digest}"
    if place.is_dir():
        return place
    settings = replace(settings, precision=fastest_precision())
    console.print(f"Fitting an adapter to {len(examples)} sample texts, once: a few minutes.")
    with progress(
        "  fitting", total=None, stream=console.file, is_terminal=console.is_terminal, period_s=10
    ) as update:
        fit_answers(
            examples,
            serving.task,
            base=checkpoint,
            folder=place,
            settings=settings,
            lora=_LORA,
            device="cpu",
            on_step=lambda done, total: update(done, "steps", total=total),
        )
    return place


def _balanced(examples: Sequence[Example], count: int) -> list[Example]:
    """Return the first ``count`` examples with the same number of every label."""
    most, seen = count // len(LABELS.names), Counter[str]()
    kept = []
    for example in examples:
        seen[example.label] += 1
        if seen[example.label] <= most:
            kept.append(example)
    return kept


def _ask(
    console: Console, way: str, given: Mapping[str, str], samples: Sequence[Sample]
) -> _Answered:
    """Classify as a program that embeds the service does."""
    with console.status(f"Loading: {_WAYS[way]}"):
        settings = load_settings(
            overrides={
                "kafka.bootstrap_servers": "localhost:9092",  # not used: there is no broker
                "kafka.group_id": "demo",
                "model.device": "cpu",
                "routing.threshold": "0.85",
                **given,
            },
            environ={},
        )
        began_s = time.monotonic()
        results = classify(settings, [sample.text for sample in samples])
    return _Answered(results, time.monotonic() - began_s)


def _right(answered: _Answered, samples: Sequence[Sample]) -> int:
    pairs = zip(answered.results, samples, strict=True)
    return sum(result.label == sample.label for result, sample in pairs)


def _print(console: Console, samples: Sequence[Sample], answers: Mapping[str, _Answered]) -> None:
    table = Columns(_COLUMNS, width=console.width)
    lines = [Text(table.header(), "dim")]
    for i, sample in enumerate(samples):
        said = [_cell(answers[way].results[i]) for way in _WAYS]
        text = shown(sample.text, cells=console.width)
        lines.append(Text(table.row([sample.label or "", *said, text])))
    for line in lines:
        console.print(line, no_wrap=True, overflow="ignore", crop=False)
    console.print()
    for way, answered in answers.items():
        sure = sum(result.route == "label" for result in answered.results)
        console.print(
            f"{way:9} {_right(answered, samples)} of {len(samples)} right, sure of {sure};"
            f" {answered.seconds:.0f} s with loading ({_WAYS[way]})"
        )


def _cell(result: Result) -> str:
    """Return the label with its confidence, or the reason why there is none."""
    if result.label is None or result.confidence is None:
        return ", ".join(result.reasons)[:15]
    return f"{result.label} {result.confidence:.2f}"
