"""What a refit would bring: the numbers of ``streamlabel learn``, or why there are none."""

import pytest

from streamlabel.console.statistics.refit_forecast import refit_forecast
from streamlabel.errors import ConfigError
from streamlabel.learning.proposal import propose
from streamlabel.models.calibration.calibration_file import CalibrationFile
from tests.unit.learning.test_learning import data_of, traffic, two_labels


def test_the_forecast_is_what_a_proposal_would_write() -> None:
    verdicts, now = traffic(20_000), two_labels()
    found = refit_forecast(list(reversed(verdicts)), now)
    tests = propose(
        data_of(verdicts), now, target=0.05, tested_at=0.05, confidence=0.95, max_weight=1000.0
    ).tests
    assert found.verdicts == len(verdicts)
    assert (found.before, found.after) == (tests.review_before, tests.review_after)
    assert found.after < found.before  # thresholds of 0.9 were stricter than the target needs
    assert found.promise == 0.05


@pytest.mark.parametrize(
    ("now", "verdicts", "why"),
    [
        (None, 10, "names no file that this console can read"),
        (two_labels(thresholds=None), 10, "promises no error rate"),
        (two_labels(), 0, "there is none yet"),
        (two_labels(), 40, "verdict"),
    ],
)
def test_what_cannot_be_said_is_not_said(
    now: CalibrationFile | None, verdicts: int, why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        refit_forecast(traffic(verdicts), now)


def test_verdicts_about_review_alone_forecast_nothing() -> None:
    reviews = [each for each in traffic(20_000) if each.purpose == "review"]
    with pytest.raises(ConfigError, match="no verdict is about an audited record"):
        refit_forecast(reviews, two_labels())
