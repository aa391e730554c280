"""The simulations of learning at a small size: ours hold where the naive ways fail."""

import numpy as np

from benchmarks.learning import fits, peeking_alarms, proposals, time_to_alarm


def test_a_weighted_fit_is_as_good_as_all_labels_and_naive_ones_are_not() -> None:
    found = fits(np.random.default_rng(1), runs=3)
    assert found.weighted <= 1.2 * found.every_label
    assert found.pooled > 1.2 * found.every_label
    assert found.review_only > 1.2 * found.every_label


def test_proposals_hold_the_target_and_believing_confidences_does_not() -> None:
    ours = proposals(np.random.default_rng(2), runs=8)
    assert ours.broken <= 1 / 8
    naive = proposals(np.random.default_rng(2), runs=3, way="naive")
    assert naive.broken == 1.0


def test_bets_find_twice_the_error_and_a_repeated_bound_cries_wolf() -> None:
    rng = np.random.default_rng(3)
    found = [time_to_alarm(rng, target=0.01, rate=0.02, audits=6000) or 6000 for _ in range(15)]
    assert np.median(found) < 2000
    peeking = peeking_alarms(rng, target=0.01, streams=200, audits=5000, every=100)
    assert peeking > 0.1
