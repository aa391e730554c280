"""The quality of a model on labelled texts, with a confidence interval for every number."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlabel.models.calibration.binomial_bounds import wilson_interval
from streamlabel.models.calibration.calibration_error import CalibrationError, calibration_error
from streamlabel.models.calibration.calibration_fit import negative_log_likelihood
from streamlabel.models.core.labels import LabelSet

__all__ = ["Estimate", "Evaluation", "LabelResult", "Scored", "evaluate"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

TARGET_RISKS = (0.005, 0.01, 0.02, 0.05)
_DRAWS = 1000
_MOST_CURVE_POINTS = 400


@dataclass(frozen=True, slots=True)
class Scored:
    """Labelled texts with the model's probabilities.

    Attributes:
        probabilities: shape (N, K).
        truth: shape (N, K); single_label: one True a row.
    """

    labels: LabelSet
    probabilities: Floats
    truth: Bools

    @property
    def is_multi(self) -> bool:
        """Whether each label is a separate decision."""
        return self.labels.problem_type == "multi_label"

    @property
    def decided(self) -> Bools:
        """The model's decisions, (N, K)."""
        if self.is_multi:
            return np.asarray(self.probabilities >= 0.5)
        return np.asarray(np.eye(len(self.labels), dtype=bool)[self.probabilities.argmax(axis=1)])

    @property
    def confidence(self) -> Floats:
        """Confidence of each text, (N,); multi_label: of the least certain decision."""
        if self.is_multi:
            return np.asarray(np.maximum(self.probabilities, 1 - self.probabilities).min(axis=1))
        return np.asarray(self.probabilities.max(axis=1))

    @property
    def is_right(self) -> Bools:
        """Whether all decisions about a text are correct, (N,)."""
        return np.asarray((self.decided == self.truth).all(axis=1))


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LabelResult:
    """Precision, recall and F1 of one label, and how well its probability ranks the texts.

    Attributes:
        average_precision: in [0, 1]; a random order has the share of texts with the label. None if
            no text has the label.
        auroc: in [0, 1], area under the ROC curve; 0.5 at random. None if no text, or every text,
            has the label.
    """

    name: str
    texts: int
    chosen: int
    precision: Estimate
    recall: Estimate
    f1: Estimate
    average_precision: float | None
    auroc: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All numbers.

    Attributes:
        accuracy: multi_label: texts of which every label is right.
        aurc: area under the risk-coverage curve: error rate among the most confident texts,
            averaged over coverage.
        coverage_at: target error -> largest fraction of texts, most confident first, with at most
            that error.
        curve: (coverage, risk) points, at most 400.
        confusion: single_label: rows are correct labels, columns predicted ones.
        worst: indexes of misclassified texts, most confident first.
    """

    items: int
    accuracy: Estimate
    macro_f1: Estimate
    by_label: tuple[LabelResult, ...]
    log_loss: float
    brier: float
    calibration: CalibrationError
    aurc: float
    coverage_at: dict[str, float]
    curve: tuple[tuple[float, float], ...]
    confusion: tuple[tuple[int, ...], ...] | None
    worst: tuple[int, ...]


def evaluate(scored: Scored, *, seed: int = 0, worst: int = 25) -> Evaluation:
    """Return the quality of the model.

    Args:
        scored: at least one text.
        seed: of bootstrap and simulation.
        worst: number of the most confidently misclassified texts to list.
    """
    right, confidence = scored.is_right, scored.confidence
    items = len(right)
    by_label, macro = _label_results(scored, seed)
    order = np.argsort(-confidence, kind="stable")
    risk = np.cumsum(~right[order]) / np.arange(1, items + 1)
    coverage = np.arange(1, items + 1) / items
    wrong = [int(i) for i in order if not right[i]]
    shown = np.unique(np.linspace(0, items - 1, min(items, _MOST_CURVE_POINTS)).astype(int))
    problem = scored.labels.problem_type
    losses = negative_log_likelihood(scored.probabilities, scored.truth, problem)
    squares = ((scored.probabilities - scored.truth) ** 2).sum(axis=1)
    return Evaluation(
        items=items,
        accuracy=Estimate(float(right.mean()), *wilson_interval(int(right.sum()), items)),
        macro_f1=macro,
        by_label=by_label,
        log_loss=float(losses.mean()),
        brier=float(squares.mean()),
        calibration=calibration_error(*_decisions(scored), seed=seed),
        aurc=float(risk.mean()),
        coverage_at={f"{r:g}": _coverage(risk, coverage, r) for r in TARGET_RISKS},
        curve=tuple((float(coverage[i]), float(risk[i])) for i in shown),
        confusion=None if scored.is_multi else _confusion(scored),
        worst=tuple(wrong[:worst]),
    )


def _decisions(scored: Scored) -> tuple[Floats, Bools]:
    """Return confidence and outcome of every decision: one per text, or one per label."""
    if not scored.is_multi:
        return scored.confidence, scored.is_right
    sure = np.maximum(scored.probabilities, 1 - scored.probabilities)
    return sure.ravel(), (scored.decided == scored.truth).ravel()


def _coverage(risk: Floats, coverage: Floats, target: float) -> float:
    within = np.flatnonzero(risk <= target)
    return float(coverage[within[-1]]) if len(within) else 0.0


def _confusion(scored: Scored) -> tuple[tuple[int, ...], ...]:
    from sklearn.metrics import confusion_matrix

    truth, chosen = scored.truth.argmax(axis=1), scored.decided.argmax(axis=1)
    table: Any = confusion_matrix(truth, chosen, labels=range(len(scored.labels)))
    return tuple(tuple(row) for row in table.tolist())


def _label_results(scored: Scored, seed: int) -> tuple[tuple[LabelResult, ...], Estimate]:
    from sklearn.metrics import precision_recall_fscore_support

    truth, decided = scored.truth, scored.decided
    precision, recall, f1, _ = precision_recall_fscore_support(
        truth.astype(int), decided.astype(int), average=None, zero_division=0
    )
    texts, chosen, hits = truth.sum(0), decided.sum(0), (truth & decided).sum(0)
    results = tuple(
        LabelResult(
            name,
            int(texts[k]),
            int(chosen[k]),
            Estimate(float(precision[k]), *wilson_interval(int(hits[k]), int(chosen[k]))),
            Estimate(float(recall[k]), *wilson_interval(int(hits[k]), int(texts[k]))),
            Estimate(float(f1[k]), *_f1_interval(int(hits[k]), int(texts[k] + chosen[k]))),
            *_ranking(truth[:, k], scored.probabilities[:, k]),
        )
        for k, name in enumerate(scored.labels.names)
    )
    value = float(np.mean(f1))
    draws = (_drawn_f1(truth, decided, seed), _possible_f1(hits, texts + chosen, seed))
    ends = np.array([np.quantile(drawn.mean(axis=1), [0.025, 0.975]) for drawn in draws])
    return results, Estimate(value, min(value, *ends[:, 0]), max(value, *ends[:, 1]))


def _ranking(truth: Bools, shown: Floats) -> tuple[float | None, float | None]:
    """Return average precision and AUROC."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    if not truth.any():
        return None, None
    area = None if truth.all() else float(roc_auc_score(truth, shown))
    return float(average_precision_score(truth, shown)), area


def _f1_interval(hits: int, both: int) -> tuple[float, float]:
    """Return the 95 % interval of F1, given the texts that have and those that got the label.

    F1 = 2 J / (1 + J), where J is the share of hits among the texts with the label on either side:
    a proportion, whose interval is not empty where every text is right. A bootstrap gives 1 to 1.
    """
    low, high = wilson_interval(hits, both - hits)
    return 2 * low / (1 + low), 2 * high / (1 + high)


def _possible_f1(hits: NDArray[np.int64], both: NDArray[np.int64], seed: int) -> Floats:
    """Return the F1 of every label if its share of hits is uncertain, (draws, K).

    With few texts a bootstrap repeats what was seen; this adds half a text that was not.
    """
    rng = np.random.default_rng(seed)
    share = rng.beta(hits + 0.5, both - 2 * hits + 0.5, size=(_DRAWS, len(hits)))
    return np.asarray(2 * share / (1 + share))


def _drawn_f1(truth: Bools, decided: Bools, seed: int) -> Floats:
    """Return the F1 of every label in bootstrap samples of the texts, (draws, K)."""
    rng = np.random.default_rng(seed)
    kinds = (truth & decided, truth, decided)
    found = np.empty((_DRAWS, truth.shape[1]))
    for draw in range(_DRAWS):
        weight = rng.multinomial(len(truth), np.full(len(truth), 1 / len(truth)))
        hits, texts, chosen = (weight @ kind for kind in kinds)
        found[draw] = 2 * hits / np.maximum(texts + chosen, 1)
    return found
