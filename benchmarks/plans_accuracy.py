"""How accurate cascades of two trained models are: one part of ``benchmarks.plans``.

MiniLM, then MPNet, which has five times as many weights; and a cascade of MiniLM cut down to two
layers, then all of MiniLM. The threshold of the first stage is chosen on texts that no model was
trained on, the accuracy measured on dev. The product's guarantee for both stages is computed from
the same texts as the threshold, and compared with the error on dev.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.plans_models import CALIBRATION, DATA, STAGES, Stage, answered
from streamlabel.models.calibration.cascade_choices import StageChoices, route
from streamlabel.models.calibration.cascade_control import control_cascade

__all__ = ["Measured", "accuracy", "best_threshold", "guarantee", "measured"]

# Largest share that the first stage may pass on of the texts of the choice: below the target of
# 0.4, because the share of other texts differs by chance (1.5 points for 1,000 texts).
_PASSED_ON: Final = 0.36
# Guaranteed error of what both stages accept, and the price of a review; stages cost nothing to
# speak of beside it.
_TARGET, _REVIEW = 0.1, 1.0
# Name of the figures -> stages. The first one is the cascade of the acceptance.
_CASCADES: Final[Mapping[str, tuple[Stage, Stage]]] = {
    "cascade": (STAGES["minilm-6"], STAGES["mpnet"]),
    "cascade_cut": (STAGES["minilm-2"], STAGES["minilm-6"]),
}


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


def accuracy(work: Path, minutes: float | None) -> tuple[dict[str, float], str, dict[str, Any]]:
    """Return figures, a page and the numbers of each cascade and data set.

    Args:
        work: where models and answers are kept.
        minutes: of each training.
    """
    figures: dict[str, float] = {}
    pages: list[str] = []
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for name, stages in _CASCADES.items():
        of = {data: _row(data, stages, work, minutes) for data in DATA}
        figures |= {
            f"{name}_accuracy_gap": max(row["gap"] for row in of.values()),
            f"{name}_escalated": max(row["passed_on"] for row in of.values()),
            f"{name}_price_ratio": min(row["price_ratio"] for row in of.values()),
            f"{name}_guarantee_error": max(row["guarantee_error"] for row in of.values()),
        }
        pages.append(_page(stages, of))
        rows[name] = of
    return figures, "\n".join(pages), rows


def _row(
    data: str, stages: tuple[Stage, Stage], work: Path, minutes: float | None
) -> dict[str, float]:
    (first, test_first), (second, test_second) = (
        answered(data, stage, work, minutes) for stage in stages
    )
    threshold = best_threshold(first, second)
    found = measured(test_first, test_second, threshold=threshold)
    accepted, error = guarantee((first, second), (test_first, test_second))
    return {
        **asdict(found),
        "gap": found.gap,
        "threshold": threshold,
        "texts": len(test_first.answer),
        "price_ratio": test_second.price / test_first.price,
        "guarantee_accepted": accepted,
        "guarantee_error": error,
    }


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


def guarantee(
    calibration: tuple[StageChoices, StageChoices], test: tuple[StageChoices, StageChoices]
) -> tuple[float, float]:
    """Return which share of the test both stages accept under the guarantee, and its error.

    0 and 0 if nothing can be guaranteed with the texts of the calibration.
    """
    promise = control_cascade(
        calibration, review_price=_REVIEW, target=_TARGET, confidence=0.95, with_curve=False
    )
    if not promise.is_kept:
        return 0.0, 0.0
    routed = route(test, promise.chosen.thresholds)
    accepted = int(routed.is_accepted.sum())
    wrong = int((routed.is_accepted & routed.is_wrong).sum())
    return accepted / len(routed.is_wrong), wrong / max(accepted, 1)


def _page(stages: tuple[Stage, Stage], rows: Mapping[str, Mapping[str, float]]) -> str:
    first, second = (stage.title for stage in stages)
    lines = [
        f"## A real cascade: {first}, then {second}",
        "",
        "Both fine-tuned on the same texts; the threshold of the first stage is chosen on"
        f" {CALIBRATION:,} other texts and may pass on {_PASSED_ON:.0%} of those; measured on dev."
        " Nothing goes to review. Price: CPU time of a text in the second stage over the first."
        f" Guarantee: thresholds of both stages for an error of at most {_TARGET:.0%} (95 %"
        " confidence) from the same texts; the share of dev that they accept, and its error.",
        "",
        "| data | texts | first alone | second alone | cascade | below the better one | passed on |"
        " price | guarantee accepts | its error |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {name} | {row['texts']:,} | {row['first']:.4f} | {row['second']:.4f} |"
        f" {row['cascade']:.4f} | {row['gap']:+.4f} | {row['passed_on']:.1%} |"
        f" {row['price_ratio']:.1f} | {row['guarantee_accepted']:.1%} |"
        f" {row['guarantee_error']:.1%} |"
        for name, row in rows.items()
    ]
    return "\n".join([*lines, ""])
