"""Learning from verdicts, on simulated streams with known truth: monitor, weighted fit, proposals.

Resumable: parts of an interrupted run with the same options are kept in the work folder; remove it
after a change of the code. The parts of the product are the same that `streamlabel monitor` and
`streamlabel learn` use; the naive ways of doing the same are measured beside them.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from benchmarks import learning_texts, procedures, results_file
from benchmarks.learning_page import page
from streamlabel.learning.noise import raised_target
from streamlabel.learning.refit import refit, sample_of
from streamlabel.learning.reviewed import Reviewed
from streamlabel.models.calibration.calibration import Calibration
from streamlabel.models.calibration.calibration_fit import calibrated, fit_weighted
from streamlabel.models.calibration.risk_control import control_risk
from streamlabel.models.calibration.target_bets import TargetBets
from streamlabel.models.core.labels import LabelSet

__all__ = ["Fits", "Proposals", "fits", "peeking_alarms", "proposals", "time_to_alarm"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_LIMIT = np.log(20)  # of a capital, at a confidence of 95 %
_LABELS = LabelSet(("no", "yes"))
_SURE = 0.9  # confidence from which on the simulated service accepts


def time_to_alarm(
    rng: np.random.Generator, *, target: float, rate: float, audits: int
) -> int | None:
    """Return after how many audits a stream raises an alarm; None: not within ``audits``.

    There is a look after each verdict.
    """
    bets = TargetBets(target)
    for number, is_wrong in enumerate((rng.random(audits) < rate).tolist(), start=1):
        bets.saw(is_wrong=is_wrong, probability=0.01)
        if is_wrong and bets.peak >= _LIMIT:
            return number
    return None


def peeking_alarms(
    rng: np.random.Generator, *, target: float, streams: int, audits: int, every: int
) -> float:
    """Return the share of streams at the target that a repeated Clopper-Pearson test rejects."""
    looks = np.arange(every, audits + 1, every)
    wrong = np.cumsum(rng.random((streams, audits)) < target, axis=1)[:, looks - 1]
    low = np.nan_to_num(beta.ppf(0.05, wrong, looks - wrong + 1))
    return float((low > target).any(axis=1).mean())


@dataclass(frozen=True, slots=True)
class Fits:
    """Mean calibration errors on new texts, by what the temperature was fitted to."""

    every_label: float
    weighted: float
    review_only: float
    pooled: float
    unfitted: float


def fits(rng: np.random.Generator, *, runs: int, texts: int = 20_000) -> Fits:
    """Return the calibration errors of fits to verdicts.

    The model is overconfident only where it is sure, which review alone does not show: records
    below 0.9 are reviewed, and 2 % of the others are audited.
    """
    held, truth_held = _traffic(rng, 200_000)
    now = Calibration("single_label")
    rows = []
    for _ in range(runs):
        scores, truth = _traffic(rng, texts)
        sure = calibrated(now, scores).max(axis=1) >= _SURE
        seen = ~sure | (rng.random(texts) < 0.02)
        probability = np.where(sure, 0.02, 1.0)[seen]
        data = _reviewed(scores[seen], truth[seen], probability, sure[seen])
        order = rng.permutation(len(data))  # verdicts come in any order
        shuffled = _reviewed(
            data.log_scores[order], data.truth[order], probability[order], data.is_audit[order]
        )
        ours = refit(shuffled, now, max_weight=1000).calibration
        reviewed = ~sure
        made = (
            fit_weighted("temperature", scores, truth, np.ones(texts)),
            ours,
            fit_weighted(
                "temperature", scores[reviewed], truth[reviewed], np.ones(int(reviewed.sum()))
            ),
            fit_weighted("temperature", scores[seen], truth[seen], np.ones(int(seen.sum()))),
            now,
        )
        rows.append([_error(each, held, truth_held) for each in made])
    return Fits(*np.mean(rows, axis=0).tolist())


def _traffic(rng: np.random.Generator, texts: int) -> tuple[Floats, Bools]:
    """Return log scores (N, 2) and truth (N, 2): 80 % easy texts; twice too sure above a logit."""
    easy = rng.random(texts) < 0.8
    logit = np.where(easy, rng.gamma(6, 0.8, texts), rng.gamma(1.5, 0.5, texts))
    right = rng.random(texts) < 1 / (1 + np.exp(-logit / np.where(logit > 2.5, 1.9, 1.0)))
    said = rng.random(texts) < 0.5  # which of the two labels the model chooses
    scores = np.stack([np.where(said, 0.0, logit), np.where(said, logit, 0.0)], axis=1)
    is_yes = said == right
    return scores, np.stack([~is_yes, is_yes], axis=1)


def _reviewed(scores: Floats, truth: Bools, probability: Floats, is_audit: Bools) -> Reviewed:
    return Reviewed(
        verdicts=(),
        ids=tuple(map(str, range(len(scores)))),
        log_scores=scores,
        truth=truth,
        probability=probability,
        is_open=np.ones(len(scores), dtype=bool),
        is_audit=is_audit,
        left_out={},
    )


def _error(calibration: Calibration, scores: Floats, truth: Bools, bins: int = 20) -> float:
    """Return the expected calibration error in bins of equal size."""
    shown = calibrated(calibration, scores)
    sure = shown.max(axis=1)
    right = truth[np.arange(len(truth)), shown.argmax(axis=1)]
    groups = np.array_split(np.argsort(sure), bins)
    gaps = [abs(sure[group].mean() - right[group].mean()) * len(group) for group in groups]
    return float(sum(gaps) / len(sure))


@dataclass(frozen=True, slots=True)
class Proposals:
    """Calibrations that were proposed from verdicts, and measured on all of the traffic.

    Attributes:
        broken: share of all runs in which the error rate of accepted texts is above the target.
        proposed: share of the runs in which any threshold held in the tests.
        accepted: mean share of texts that proposals accept.
    """

    broken: float
    proposed: float
    accepted: float


def proposals(
    rng: np.random.Generator,
    *,
    runs: int,
    way: str = "corrected",
    target: float = 0.05,
    texts: int = 12_000,
    share: float = 0.5,
    noise: float = 0.05,
    gold: int = 4000,
) -> Proposals:
    """Return how often proposals break the target.

    Records below 0.9 are reviewed, a share of the others is audited; verdicts of the last tenth of
    the traffic have not arrived; reviewers are wrong at random.

    Args:
        rng: of the simulation.
        runs: how many.
        way: ``corrected``: as `learn --correct-noise`; ``raw``: as `learn`; ``naive``: a
            temperature of the records in review, and the threshold above which mean confidence
            promises the target.
        target: error rate.
        texts: of the traffic, in each run.
        share: of accepted records that is audited.
        noise: share of wrong verdicts.
        gold: verdicts about records with a known answer, which measure the noise.
    """
    now = Calibration("single_label")
    population, truth = _traffic(rng, 100_000)
    broken = proposed = 0
    accepted = 0.0
    for _ in range(runs):
        scores, real = _traffic(rng, texts)
        sure = calibrated(now, scores).max(axis=1) >= _SURE
        seen = (~sure | (rng.random(texts) < share)) & (np.arange(texts) < 0.9 * texts)
        flips = rng.random(texts) < noise
        said = np.where(flips[:, None], ~real, real)
        probability = np.where(sure, share, 1.0)[seen]
        data = _reviewed(scores[seen], said[seen], probability, sure[seen])
        wrong = int((rng.random(gold) < noise).sum())
        if way == "naive":
            fitted, thresholds = _naive(data, scores, target)
        else:
            fitted = refit(data, now, max_weight=1000).calibration
            tested_at, confidence = target, 0.95
            if way == "corrected":
                tested_at = raised_target(target, wrong=wrong, judged=gold, confidence=0.99)
                confidence = 0.96
            sample = sample_of(data, fitted, _LABELS)
            thresholds = control_risk(sample, target=tested_at, confidence=confidence).thresholds
        taken = _taken(fitted, population, thresholds)
        proposed += bool(taken.any())
        accepted += float(taken.mean()) / runs
        if taken.any():
            shown = calibrated(fitted, population[taken]).argmax(axis=1)
            right = truth[taken][np.arange(int(taken.sum())), shown]
            broken += bool(1 - right.mean() > target)
    return Proposals(broken / runs, proposed / runs, accepted)


def _naive(data: Reviewed, scores: Floats, target: float) -> tuple[Calibration, tuple[float, ...]]:
    """Fit a temperature to the records in review, and believe the confidences that it gives."""
    rows = ~data.is_audit
    fitted = fit_weighted(
        "temperature", data.log_scores[rows], data.truth[rows], np.ones(int(rows.sum()))
    )
    ranked = np.sort(calibrated(fitted, scores).max(axis=1))[::-1]
    expected = np.cumsum(1 - ranked) / np.arange(1, len(ranked) + 1)
    count = int(np.searchsorted(expected, target, side="right"))
    return fitted, (float(ranked[max(0, count - 1)]),) * len(_LABELS)


def _taken(calibration: Calibration, scores: Floats, thresholds: tuple[float, ...]) -> Bools:
    shown = calibrated(calibration, scores)
    return np.asarray(shown.max(axis=1) >= np.array(thresholds)[shown.argmax(axis=1)])


def main() -> None:
    """Run it and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--audits", type=int, default=3000)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--trials", type=int, default=4000, help="of the procedures")
    parser.add_argument("--splits", type=int, default=300, help="of the labelled texts")
    parser.add_argument("--work", type=Path, default=Path(".cache/learning"), help="for answers")
    options = parser.parse_args()
    few = max(1, options.runs // 20)
    errors = _kept(options, "fits", lambda: asdict(fits(np.random.default_rng(31), runs=few)))
    real = _on_texts(options)
    coverage = _kept(options, "coverage", lambda: procedures.promise_figures(options.trials))
    monitor = _kept(options, "monitor", lambda: _monitor(options))
    ways = {
        way: _kept(
            options,
            f"proposals {way}",
            partial(_proposals, way, options.runs if way == "corrected" else few),
        )
        for way in ("corrected", "raw", "naive")
    }
    results_file.write(
        "learning",
        command=f"python -m benchmarks.learning --streams {options.streams} --audits"
        f" {options.audits} --runs {options.runs} --trials {options.trials}"
        f" --splits {options.splits}",
        figures={
            "monitor_false_alarms": monitor["alarms"],
            "median_audits_to_alarm": monitor["times"]["2"],
            "refit_ece_over_full_labels": errors["weighted"] / errors["every_label"],
            "naive_review_only_ece_over_full_labels": errors["review_only"] / errors["every_label"],
            "naive_pooled_ece_over_full_labels": errors["pooled"] / errors["every_label"],
            "broken_promises": ways["corrected"]["broken"],
            "review_after_over_before": real["reviews"]["500"]["after"]
            / real["reviews"]["500"]["before"],
            "prediction_set_shortfall": max(
                0.95 - row["coverage"] for row in real["lists"].values()
            ),
            "missed_label_broken": real["missed"]["broken"],
            **coverage,
        },
        page=page(
            vars(options),
            monitor=monitor,
            errors=errors,
            ways=ways,
            real=real,
            coverage=coverage,
        ),
        details=real,
        libraries=("numpy", "scikit-learn", "scipy"),
    )


def _proposals(way: str, runs: int) -> dict[str, float]:
    return asdict(proposals(np.random.default_rng(37), runs=runs, way=way))


def _monitor(options: argparse.Namespace) -> dict[str, Any]:
    rng = np.random.default_rng(29)
    target = 0.01
    alarms = [
        time_to_alarm(rng, target=target, rate=target, audits=options.audits) is not None
        for _ in range(options.streams)
    ]
    peeking = peeking_alarms(
        rng, target=target, streams=options.streams, audits=options.audits, every=100
    )
    times = {}
    for factor in (1.5, 2.0, 3.0, 5.0):
        found = [
            time_to_alarm(rng, target=target, rate=factor * target, audits=20_000) or 20_000
            for _ in range(max(1, options.streams // 20))
        ]
        times[f"{factor:g}"] = float(np.median(found))
    return {"alarms": float(np.mean(alarms)), "peeking": peeking, "times": times}


def _on_texts(options: argparse.Namespace) -> dict[str, Any]:
    """Return what is measured on labelled texts."""
    sets = {name: learning_texts.texts(name, options.work) for name in learning_texts.DATA_SETS}
    tweets = sets["tweets_moderation"]
    runs, splits = max(1, options.splits // 10), options.splits

    def reviews(labels: int) -> dict[str, float]:
        return asdict(learning_texts.reviews(tweets, labels=labels, runs=runs))

    def missed() -> dict[str, float]:
        found = learning_texts.missed(tweets, "hate", limit=0.05, labels=2500, splits=splits)
        return asdict(found)

    def lists(name: str) -> dict[str, float]:
        return asdict(learning_texts.lists(sets[name], labels=1500, splits=splits))

    return {
        "reviews": {
            str(labels): _kept(options, f"reviews {labels}", partial(reviews, labels))
            for labels in (500, 1250)  # of the calibration before
        },
        "missed": _kept(options, "missed", missed),
        "lists": {name: _kept(options, f"lists {name}", partial(lists, name)) for name in sets},
    }


def _kept(
    options: argparse.Namespace, name: str, measure: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Return a part of an interrupted run with the same options, else measure it."""
    sizes = (options.streams, options.audits, options.runs, options.trials, options.splits)
    path = options.work / f"{name} {'-'.join(map(str, sizes))}.json"
    if not path.is_file():
        options.work.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(measure()))
    found: dict[str, Any] = json.loads(path.read_text())
    print(f"{name} {found}", flush=True)  # a run takes long
    return found


if __name__ == "__main__":
    main()
