"""The page of the measurements of learning."""

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["page"]

_FITTED = {
    "every_label": "all labels",
    "weighted": "verdicts with weights (`learn`)",
    "pooled": "verdicts without weights",
    "review_only": "verdicts about records in review",
    "unfitted": "nothing",
}


def page(
    options: Mapping[str, Any],
    *,
    monitor: Mapping[str, Any],
    errors: Mapping[str, float],
    ways: Mapping[str, Mapping[str, float]],
    real: Mapping[str, Any],
    coverage: Mapping[str, float],
) -> str:
    """Return the page.

    Args:
        options: of the command.
        monitor: ``alarms``, ``peeking`` and ``times``.
        errors: what was fitted to -> calibration error.
        ways: way of choosing thresholds -> what proposals did.
        real: ``reviews``, ``missed`` and ``lists`` on labelled texts.
        coverage: figures of the procedures.
    """
    lines = [*_simulated(options, monitor, errors, ways), *_real(options, real)]
    lines += [
        "",
        "## Coverage of a guarantee",
        "",
        f"Target error 2%, {options['trials']} simulated calibrations, the worst of three shapes;"
        " that of an oracle is 1. All procedures are in [procedures](procedures.md).",
        "",
        *_table(("labels", "mean", "10th percentile"), [
            (f"{n:,}", *(f"{coverage[f'promise_coverage_{n}_{k}']:.2f}" for k in ("mean", "p10")))
            for n in (1250, 5000)
        ]),
    ]  # fmt: skip
    return "\n".join(lines).replace("%", " %")


def _simulated(
    options: Mapping[str, Any],
    monitor: Mapping[str, Any],
    errors: Mapping[str, float],
    ways: Mapping[str, Mapping[str, float]],
) -> list[str]:
    best = errors["every_label"]
    return [
        "## Monitor",
        "",
        f"Target error 1%, {options['streams']:,} streams of {options['audits']:,} audits at the"
        " target, a look after each verdict.",
        "",
        *_table(("", "streams at the target with an alarm"), [
            ("bets", f"{monitor['alarms']:.1%}"),
            ("a Clopper-Pearson bound every 100 audits", f"{monitor['peeking']:.1%}"),
        ]),
        "",
        *_table(("error rate over the target", "median audits to the alarm"), [
            (factor, f"{count:,.0f}") for factor, count in monitor["times"].items()
        ]),
        "",
        "## Weighted fit",
        "",
        "Calibration error on new texts of a model that is overconfident only where it is sure.",
        "",
        *_table(("fitted to", "calibration error", "over that of all labels"), [
            (text, f"{errors[key]:.4f}", f"{errors[key] / best:.2f}")
            for key, text in _FITTED.items()
        ]),
        "",
        "## Proposals",
        "",
        "Target error 5%, 12,000 texts, 50% of accepted records audited, 5% of the verdicts"
        " wrong, 4,000 known answers, the last tenth not arrived. At most 5% may be broken.",
        "",
        *_table(("thresholds", "broken", "proposed", "texts accepted"), [
            (way, f"{row['broken']:.1%}", f"{row['proposed']:.1%}", f"{row['accepted']:.1%}")
            for way, row in ways.items()
        ]),
    ]  # fmt: skip


def _real(options: Mapping[str, Any], real: Mapping[str, Any]) -> list[str]:
    missed = real["missed"]
    return [
        "",
        "## Review before and after verdicts",
        "",
        "tweets_moderation, a linear model, 50,000 texts, 2% of accepted ones audited, verdicts"
        " from the labels, target error 5% before and after, mean of"
        f" {max(1, options['splits'] // 10)} runs. Least: with thresholds of an oracle that knows"
        " all errors.",
        "",
        *_table(
            ("labels of the calibration before", "review before", "after", "least",
             "accepted error before", "after", "broken"),
            [
                (f"{int(labels):,}", *(f"{row[key]:.1%}" for key in (
                    "before", "after", "least", "error_before", "error_after", "broken")))
                for labels, row in real["reviews"].items()
            ],
        ),
        "",
        "## A limit of missed texts",
        "",
        f"tweets_moderation, `--missed hate=0.05` with 2,500 labels, {options['splits']} splits:"
        f" broken in {missed['broken']:.1%} of them; {missed['missed']:.1%} missed in the mean,"
        f" {missed['accepted']:.1%} of all texts accepted.",
        "",
        "## Prediction sets in review",
        "",
        f"Stated 95%, 1,500 labels, thresholds for a target error of 5%, {options['splits']}"
        " splits.",
        "",
        *_table(
            ("data", "coverage in review", "limits of all texts", "labels on a list"),
            [
                (name, f"{row['coverage']:.1%}", f"{row['of_all']:.1%}", f"{row['size']:.2f}")
                for name, row in real["lists"].items()
            ],
        ),
    ]  # fmt: skip


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    names = list(heads)
    lines = [names, ["---", *["---:"] * (len(names) - 1)], *map(list, rows)]
    return ["| " + " | ".join(cells) + " |" for cells in lines]
