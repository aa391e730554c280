"""What verdicts and guarantees do on real labelled texts, with verdicts made from the labels.

The model is a linear one on word or character n-grams: it is as accurate on these data sets as the
encoders of ``benchmarks.quality``, and every text is answered by a fit that did not see it, so that
all of them can be drawn. The scores are kept in the work folder.
"""

import json
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlabel.errors import ConfigError
from streamlabel.learning.proposal import propose
from streamlabel.learning.refit import choices_from
from streamlabel.learning.reviewed import Reviewed
from streamlabel.models.calibration.calibration import Calibration
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.calibration.calibration_fit import calibrated, fit_calibration
from streamlabel.models.calibration.calibration_sections import Evidence, FittedOn, Mapped
from streamlabel.models.calibration.prediction_sets import fit_limits
from streamlabel.models.calibration.risk_control import control_risk
from streamlabel.models.calibration.thresholds import Choices, Promise
from streamlabel.models.core.labels import LabelSet
from streamlabel.quality.choosing import Wish, choose_thresholds
from streamlabel.quality.threshold_sections import thresholds_section

__all__ = [
    "DATA_SETS",
    "Lists",
    "Missed",
    "Reviews",
    "Texts",
    "lists",
    "missed",
    "reviews",
    "texts",
]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

DATA_SETS = ("sms_spam", "ag_news", "tweets_moderation", "hotel_reviews_zh", "shopping_category_zh")
_DATA = Path(os.environ.get("STREAMLABEL_DATA", "../shared/data"))
# Two fits instead of five are enough with so many texts.
_MANY = 15_000


@dataclass(frozen=True, slots=True)
class Texts:
    """Held-out answers for all texts of a data set.

    Attributes:
        log_scores: shape (N, K).
        truth: shape (N, K).
        names: of the labels, K.
    """

    log_scores: Floats
    truth: Bools
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.truth)

    def choices(self, calibration: Calibration, rows: NDArray[np.int64]) -> Choices:
        """Return what the model chose for some rows."""
        shown = calibrated(calibration, self.log_scores[rows])
        is_open = np.ones(len(rows), dtype=bool)
        return choices_from(shown, self.truth[rows], is_open, self.names, is_multi=False)

    def fitted(self, rows: NDArray[np.int64]) -> Calibration:
        """Return the calibration that ``calibrate`` would fit to some rows."""
        found = fit_calibration(self.log_scores[rows], self.truth[rows], "single_label")
        return found.calibration


def texts(name: str, work: Path) -> Texts:
    """Return the answers for a data set; those of an earlier run are used again."""
    kept = work / f"{name}.npz"
    if not kept.is_file():
        work.mkdir(parents=True, exist_ok=True)
        scores, truth, names = _answered(name)
        np.savez(kept, log_scores=scores, truth=truth, names=np.array(names))
    with np.load(kept) as found:
        names = tuple(str(each) for each in found["names"])
        return Texts(found["log_scores"], found["truth"], names)


def _answered(name: str) -> tuple[Floats, Bools, tuple[str, ...]]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import StratifiedKFold

    files = [_DATA / name / f"{part}.jsonl" for part in ("train", "dev")]
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    written = [row["text"] for row in rows]
    names = tuple(sorted({row["label"] for row in rows}))
    truth = np.array([names.index(row["label"]) for row in rows])
    scores = np.zeros((len(rows), len(names)))
    folds = StratifiedKFold(2 if len(rows) > _MANY else 5, shuffle=True, random_state=0)
    for fit, held in folds.split(written, truth):
        vectors, model = _linear(is_chinese=name.endswith("zh"))
        seen = vectors.fit_transform([written[i] for i in fit])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # sixty rounds are near enough
            model.fit(seen, truth[fit])
        scores[held] = model.predict_log_proba(vectors.transform([written[i] for i in held]))
    return scores, np.eye(len(names), dtype=bool)[truth], names


def _linear(*, is_chinese: bool) -> tuple[Any, Any]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    grams: dict[str, Any] = {"ngram_range": (1, 2), "min_df": 2}
    if is_chinese:
        grams = {"analyzer": "char", "ngram_range": (1, 3), "min_df": 3}
    vectors = TfidfVectorizer(sublinear_tf=True, max_features=60_000, **grams)
    return vectors, LogisticRegression(C=10, max_iter=60)


@dataclass(frozen=True, slots=True)
class Reviews:
    """Share in review before and after verdicts, with the same target; means over runs.

    Attributes:
        before: with the thresholds of a calibration from a few labels.
        after: with the thresholds that verdicts prove.
        least: of an oracle that knows all errors.
        error_before: of accepted texts.
        error_after: of accepted texts.
        broken: share of runs in which the new thresholds exceed the target.
    """

    before: float
    after: float
    least: float
    error_before: float
    error_after: float
    broken: float


def reviews(
    found: Texts,
    *,
    labels: int,
    runs: int,
    target: float = 0.05,
    stream: int = 50_000,
    share: float = 0.02,
) -> Reviews:
    """Return what a stream with verdicts about reviews and audits does to the share in review.

    Args:
        found: answers.
        labels: that the calibration in force was made with.
        runs: repetitions.
        target: error rate of accepted texts, before and after.
        stream: texts that pass, drawn with replacement from those without a label.
        share: of accepted texts that is audited.
    """
    rows = [
        _one_stream(
            np.random.default_rng(run), found, labels, target=target, stream=stream, share=share
        )
        for run in range(runs)
    ]
    means = np.mean(rows, axis=0).tolist()
    return Reviews(*means)


def _one_stream(
    rng: np.random.Generator,
    found: Texts,
    labels: int,
    *,
    target: float,
    stream: int,
    share: float,
) -> tuple[float, ...]:
    order = rng.permutation(len(found))
    rest = order[labels:]
    now = found.fitted(order[:labels])
    before = control_risk(found.choices(now, order[:labels]), target=target)
    drawn = rng.choice(rest, stream)
    shown = found.choices(now, drawn)
    accepted = shown.accepted(before.thresholds)
    seen = ~accepted | (rng.random(stream) < share)
    rows = drawn[seen]
    verdicts = Reviewed(
        verdicts=(),
        ids=tuple(map(str, np.flatnonzero(seen))),
        log_scores=found.log_scores[rows],
        truth=found.truth[rows],
        probability=np.where(accepted, share, 1.0)[seen],
        is_open=np.ones(len(rows), dtype=bool),
        is_audit=accepted[seen],
        left_out={},
    )
    file = _file(now, before, found.names, target)
    try:
        after = propose(
            verdicts, file, target=target, tested_at=target, confidence=0.95, max_weight=1000
        ).file
    except ConfigError:  # nothing was in force, and nothing is proven
        after = file
    fitted = after.calibration
    limits = tuple(after.limits.values())
    whole = found.choices(fitted, rest)
    taken = whole.accepted(limits)
    error = float(whole.is_wrong[taken].mean()) if taken.any() else 0.0
    ranked = np.cumsum(whole.is_wrong[np.argsort(-whole.confidence)])
    allowed = np.flatnonzero(ranked <= target * np.arange(1, len(rest) + 1))
    least = 1 - (int(allowed[-1]) + 1 if len(allowed) else 0) / len(rest)
    error_before = float(shown.is_wrong[accepted].mean()) if accepted.any() else 0.0
    return (
        1 - float(accepted.mean()), 1 - float(taken.mean()), least, error_before, error,
        float(error > target),
    )  # fmt: skip


def _file(
    now: Calibration, promise: Promise, names: tuple[str, ...], target: float
) -> CalibrationFile:
    """Return the file that ``calibrate`` would write."""
    wish = Wish(target_error=target, confidence=0.95)
    return CalibrationFile(
        model=FittedOn(
            name="linear", backend="fake", digest="0" * 64, device="cpu", dtype="float32",
            labels=list(names), problem_type="single_label",
        ),
        mapping=Mapped(
            method="temperature and bias" if now.bias else "temperature",
            temperature=now.temperature,
            bias=dict(zip(names, now.bias, strict=True)) if now.bias else {},
        ),
        thresholds=thresholds_section(promise, wish, LabelSet(names)),
        evidence=Evidence(
            made_on="2026-11-30", items=1, by_label={}, log_loss_before=0.0, log_loss_after=0.0
        ),
    ).with_id()  # fmt: skip


@dataclass(frozen=True, slots=True)
class Missed:
    """A limit of missed texts of a label, over splits.

    Attributes:
        broken: share of splits in which the others miss more than the limit.
        refused: share of splits with too few texts of the label.
        missed: mean share of missed texts.
        accepted: mean share of accepted texts.
    """

    broken: float
    refused: float
    missed: float
    accepted: float


def missed(found: Texts, label: str, *, limit: float, labels: int, splits: int) -> Missed:
    """Return how often the texts that were not labelled miss more of a label than is guaranteed.

    Thresholds are those of ``calibrate --missed LABEL=LIMIT``.
    """
    index = found.names.index(label)
    shares, accepted, refused = [], [], 0
    for split in range(splits):
        order = np.random.default_rng(split).permutation(len(found))
        here, there = order[:labels], order[labels:]
        fitted = found.fitted(here)
        try:
            promise, _ = choose_thresholds(
                found.choices(fitted, here), Wish(confidence=0.95, missed={label: limit})
            )
        except ConfigError:
            refused += 1
            continue
        if promise is None:
            raise ValueError("a wish without thresholds. This is a bug.")
        others = found.choices(fitted, there)
        taken = others.accepted(promise.thresholds)
        real = found.truth[there, index]
        shares.append(float((taken & (others.label != index))[real].mean()))
        accepted.append(float(taken.mean()))
    return Missed(
        float(np.mean(np.array(shares) > limit)),
        refused / splits,
        float(np.mean(shares)),
        float(np.mean(accepted)),
    )


@dataclass(frozen=True, slots=True)
class Lists:
    """Prediction sets, over splits.

    Attributes:
        coverage: share of texts in review whose true label is on the list.
        of_all: the same with limits that are fitted to all texts, as before version 2.
        size: mean number of labels on a list.
    """

    coverage: float
    of_all: float
    size: float


def lists(
    found: Texts, *, labels: int, splits: int, target: float = 0.05, miss_rate: float = 0.05
) -> Lists:
    """Return how often lists have the true label, on other texts that go to review."""
    rows = []
    for split in range(splits):
        order = np.random.default_rng(split).permutation(len(found))
        here, there = order[:labels], order[labels:]
        fitted = found.fitted(here)
        made, others = found.choices(fitted, here), found.choices(fitted, there)
        thresholds = control_risk(made, target=target).thresholds
        reviewed, shown_for = ~made.accepted(thresholds), ~others.accepted(thresholds)
        truth = found.truth.argmax(axis=1)
        here_shown = calibrated(fitted, found.log_scores[here])
        there_shown = calibrated(fitted, found.log_scores[there][shown_for])
        right = truth[there][shown_for]
        limits = fit_limits(here_shown[reviewed], truth[here][reviewed], miss_rate=miss_rate)
        for_all = fit_limits(here_shown, truth[here], miss_rate=miss_rate)
        listed = _listed(there_shown, limits)
        at = np.arange(len(right))
        rows.append(
            (listed[at, right].mean(), _listed(there_shown, for_all)[at, right].mean(),
             listed.sum(axis=1).mean())
        )  # fmt: skip
    return Lists(*np.mean(rows, axis=0).tolist())


def _listed(shown: Floats, limits: tuple[float, ...]) -> Bools:
    """Return ``prediction_set`` for many texts, (N, K)."""
    listed = 1 - shown <= np.array(limits)
    empty = ~listed.any(axis=1)
    listed[empty, shown[empty].argmax(axis=1)] = True
    return np.asarray(listed)
