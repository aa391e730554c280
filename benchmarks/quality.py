"""How good models trained with the project are, and whether its calibration and promises hold.

Resumable: a model or an answer file that is in the work folder already is used again, so a run that
was cut off goes on. ``--only`` trains some of the data sets; the table needs all of them.
"""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import results_file
from benchmarks.quality_models import DATA_SETS, Answered, DataSet, answered
from benchmarks.quality_promises import Kept, held_out_calibration, simulated, splits
from streamlabel.models.evaluation import Evaluation, Scored, evaluate
from streamlabel.models.scores import probabilities

_LIBRARIES = ("numpy", "scikit-learn", "scipy", "tokenizers", "torch", "transformers")
_TARGETS = (0.01, 0.02, 0.05)
_KINDS = ("calibrated", "too sure", "edge")
_REAL = (("tweets_moderation", 0.02), ("sms_spam", 0.01))


def main() -> None:
    """Run it and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--work", type=Path, default=Path(".cache/quality"), help="models and answers"
    )
    parser.add_argument("--only", nargs="*", help="data sets to train; writes no result")
    parser.add_argument("--limit", type=int, help="texts of a data set, for a smoke run")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--splits", type=int, default=300)
    parser.add_argument("--halvings", type=int, default=10)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    chosen = [d for d in DATA_SETS if not options.only or d.name in options.only]
    found = {d.name: answered(d, options.work, limit=options.limit) for d in chosen}
    evaluations = {name: _evaluated(a) for name, a in found.items()}
    for data_set in chosen:
        print(_row(data_set, evaluations[data_set.name], found[data_set.name]), flush=True)
    if options.only:
        return
    halves = {n: held_out_calibration(a, halvings=options.halvings) for n, a in found.items()}
    trials = {
        (kind, target): simulated(kind, target=target, items=1250, trials=options.trials)
        for kind in _KINDS
        for target in _TARGETS
    }
    real = {n: splits(found[n], target=target, count=options.splits) for n, target in _REAL}
    means = {
        name: {key: float(np.mean([asdict(h)[key] for h in rows])) for key in asdict(rows[0])}
        for name, rows in halves.items()
    }
    figures: dict[str, float] = {}
    for name, evaluation in evaluations.items():
        figures[f"{name}_accuracy"] = evaluation.accuracy.value
        figures[f"{name}_macro_f1"] = evaluation.macro_f1.value
        figures[f"{name}_excess_calibration_error"] = means[name]["excess"]
    figures |= {
        "worst_excess_calibration_error": max(m["excess"] for m in means.values()),
        "worst_log_loss_increase": max(m["log_loss"] - m["raw_log_loss"] for m in means.values()),
        "worst_broken_promise_share": max(kept.broken for kept in trials.values()),
        "worst_broken_promise_share_on_splits": max(kept.broken for kept in real.values()),
        "longest_training_s": max(a.train_s for a in found.values()),
    }
    for name, kept in real.items():
        figures[f"{name}_promised_coverage"] = kept.coverage
    results_file.write(
        "quality",
        command="python -m benchmarks.quality",
        figures=figures,
        page=_page(
            chosen=chosen,
            evaluations=evaluations,
            found=found,
            means=means,
            trials=trials,
            real=real,
            split_count=options.splits,
        ),
        details={
            "halves": {name: [asdict(h) for h in rows] for name, rows in halves.items()},
            "trials": {f"{k}, {t:g}": asdict(kept) for (k, t), kept in trials.items()},
            "splits": {name: asdict(kept) for name, kept in real.items()},
        },
        libraries=_LIBRARIES,
    )


def _evaluated(found: Answered) -> Evaluation:
    shown = probabilities(found.log_scores, "single_label")
    return evaluate(Scored(found.labels, shown, found.truth))


def _row(data_set: DataSet, e: Evaluation, found: Answered) -> str:
    asked = f">= {data_set.accuracy}"
    if data_set.macro_f1 is not None:
        asked += f", F1 >= {data_set.macro_f1}"
    return (
        f"| {data_set.name} | {e.items:,} | {e.accuracy.value:.4f} ({e.accuracy.low:.3f} to"
        f" {e.accuracy.high:.3f}) | {e.macro_f1.value:.4f} | {asked} | {found.train_s:.0f} s |"
    )


def _page(
    *,
    chosen: list[DataSet],
    evaluations: dict[str, Evaluation],
    found: dict[str, Answered],
    means: dict[str, dict[str, float]],
    trials: dict[tuple[str, float], Kept],
    real: dict[str, Kept],
    split_count: int,
) -> str:
    rows: list[Any] = [_row(d, evaluations[d.name], found[d.name]) for d in chosen]
    calibration = [
        f"| {name} | {m['raw_excess']:.4f} | {m['excess']:.4f} | {m['raw_log_loss']:.4f} |"
        f" {m['log_loss']:.4f} |"
        for name, m in means.items()
    ]
    promises = [
        f"| {kind} | {target:.0%} | {k.broken:.1%} | {k.empty:.1%} | {k.coverage:.1%} |"
        for (kind, target), k in trials.items()
    ]
    on_splits = [
        f"| {name}, {target:.0%} | {real[name].broken:.1%} | {real[name].empty:.1%} |"
        f" {real[name].coverage:.1%} |"
        for name, target in _REAL
    ]
    return "\n".join(
        [
            "Trained on train with a twelfth held out for early stopping; measured once on dev.",
            "English: MiniLM, all layers. Chinese: a two-layer encoder of characters from scratch.",
            "",
            "| data | texts | accuracy (95 %) | macro F1 | to reach | training |",
            "| --- | ---: | --- | ---: | --- | ---: |",
            *rows,
            "",
            "Calibration fitted on one half of dev and measured on the other, then swapped; means"
            " over random halvings. Error above that of a perfectly calibrated model:",
            "",
            "| data | error above chance, before | after | log loss before | after |",
            "| --- | ---: | ---: | ---: | ---: |",
            *calibration,
            "",
            "Promises at 95 %, simulated with known truth, 1,250 labels a trial:",
            "",
            "| model | target | broken | nothing promised | accepted |",
            "| --- | ---: | ---: | ---: | ---: |",
            *promises,
            "",
            f"Promises on {split_count} random halvings of dev; broken: the other half's error is"
            " significantly above the target:",
            "",
            "| data, target | broken | nothing promised | accepted |",
            "| --- | ---: | ---: | ---: |",
            *on_splits,
        ]
    )


if __name__ == "__main__":
    main()
