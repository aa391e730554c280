"""The spread over seeds is that of statistics, and the best one is kept."""

from pathlib import Path

import pytest

from streamlabel.training.fit_settings import EpochReport, FitReport
from streamlabel.training.several_seeds import best_seed, spreads


def report(accuracy: float, macro_f1: float = 0.5, loss: float = 1.0) -> FitReport:
    """Return that of a training whose second epoch was the best of three."""
    epochs = (
        EpochReport(1, 1.0, 3.0, True, 0.1, 0.1),
        EpochReport(2, 1.0, loss, True, accuracy, macro_f1),
        EpochReport(3, 1.0, 4.0, False, 1.0, 1.0),
    )
    return FitReport(Path("m"), 10, 30, 1.0, 5.0, epochs)


def test_the_figures_are_those_of_the_best_epochs() -> None:
    accuracy, macro_f1 = spreads([report(0.8, 0.7), report(0.9, 0.6), report(0.7, 0.8)])
    assert accuracy.mean == pytest.approx(0.8)
    assert (accuracy.low, accuracy.high) == (0.7, 0.9)
    assert accuracy.deviation == pytest.approx(0.1)
    assert macro_f1.mean == pytest.approx(0.7)
    assert str(accuracy) == "mean 0.800 (0.700 to 0.900, standard deviation 0.100)"
    (alone, _) = spreads([report(0.8)])
    assert alone.deviation == 0


def test_accuracy_chooses_then_macro_f1_then_the_loss_then_the_order() -> None:
    assert best_seed({1: report(0.8, 0.9), 2: report(0.9, 0.1), 3: report(0.7)}) == 2
    assert best_seed({1: report(0.8, 0.1), 2: report(0.8, 0.2)}) == 2
    assert best_seed({1: report(0.8, loss=2.0), 2: report(0.8, loss=1.5)}) == 2
    assert best_seed({5: report(0.8), 2: report(0.8)}) == 5
