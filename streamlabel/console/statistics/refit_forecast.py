"""What a refit of the calibration to the verdicts so far would do to the share of review.

The same computation as ``streamlabel learn``, and as honest: where that proves nothing, nothing is
forecast, and the page says why.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from streamlabel.consumer.output.verdict import VerdictMessage
from streamlabel.errors import ConfigError
from streamlabel.extras import require
from streamlabel.learning.proposal import propose
from streamlabel.learning.reviewed import reviewed_of
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.core.labels import LabelSet

__all__ = ["RefitForecast", "refit_forecast"]

# As ``streamlabel learn`` has it by default.
_MAX_WEIGHT: Final = 1000.0


@dataclass(frozen=True, slots=True)
class RefitForecast:
    """What a refit would bring.

    Attributes:
        verdicts: that it would be fitted to.
        before: share of the traffic in review with the thresholds in force, on these verdicts.
        after: with those that a test on the same verdicts would choose.
        promise: error rate among accepted records, of both.
    """

    verdicts: int
    before: float
    after: float
    promise: float


def refit_forecast(
    verdicts: Sequence[VerdictMessage], now: CalibrationFile | None
) -> RefitForecast:
    """Return the forecast.

    Args:
        verdicts: that hold, in any order.
        now: the calibration in force; None: there is none, or it is not on this machine.

    Raises:
        ConfigError: it cannot be said; the message says why, and what to change.
    """
    if now is None:
        raise ConfigError("routing.calibration names no file that this console can read")
    if now.answers is not None:
        raise ConfigError("a multi-label calibration is made again by streamlabel calibrate")
    if now.thresholds is None or now.thresholds.target_error is None:
        raise ConfigError("the calibration in force promises no error rate that could be kept")
    require("the forecast", "scipy", extra="evaluate")
    labels = LabelSet(tuple(now.model.labels), now.model.problem_type)
    data = reviewed_of(verdicts, labels=labels, digest=now.model.digest)
    if not len(data):
        why = ", ".join(f"{count:,} {reason}" for reason, count in data.left_out.items())
        raise ConfigError(f"no verdict can be used for a fit ({why or 'there is none yet'})")
    target = now.thresholds.target_error
    found = propose(
        data,
        now,
        target=target,
        tested_at=target,
        confidence=now.thresholds.confidence,
        max_weight=_MAX_WEIGHT,
    )
    return RefitForecast(len(data), found.tests.review_before, found.tests.review_after, target)
