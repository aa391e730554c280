"""The simulation of cascades: the guarantee holds, and costs less than testing all pairs."""

import numpy as np

from benchmarks.plans_cascades import drawn, proof
from streamlabel.models.calibration.cascade_choices import route
from streamlabel.models.calibration.cascade_control import control_cascade


def test_the_guarantee_is_broken_in_no_more_trials_than_it_says() -> None:
    rng = np.random.default_rng(11)
    broken, trials = 0, 200
    big = drawn(rng, 100_000, "edge")
    for _ in range(trials):
        promise = control_cascade(
            drawn(rng, 1500, "edge"), review_price=1, target=0.05, with_curve=False
        )
        routed = route(big, promise.chosen.thresholds)
        accepted = routed.is_accepted
        broken += bool(promise.is_kept and accepted.any())
    # whatever is accepted breaks it: 5 % and three standard deviations
    assert broken / trials <= 0.05 + 3 * (0.05 * 0.95 / trials) ** 0.5
    assert broken > 0


def test_it_costs_less_than_bonferroni_and_the_rows_are_complete() -> None:
    figures, page, rows = proof(4)
    assert figures["cascade_cost_over_oracle"] < figures["cascade_cost_over_oracle_bonferroni"]
    assert figures["cascade_cost_over_oracle"] >= 1
    assert set(rows["two models"]) == {"streamlabel calibrate", "one path", "Bonferroni"}
    assert page.count("\n| ") == 2 + 5
