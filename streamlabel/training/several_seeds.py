"""The same training with several seeds: how much its figures spread, and which model is kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from streamlabel.training.fit_settings import FitReport

__all__ = ["Spread", "best_seed", "spreads"]


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over several seeds.

    Attributes:
        deviation: standard deviation of the sample; 0 for one value.
    """

    mean: float
    low: float
    high: float
    deviation: float

    def __str__(self) -> str:
        """Return it for a message, to three decimals."""
        return (
            f"mean {self.mean:.3f} ({self.low:.3f} to {self.high:.3f}, standard deviation"
            f" {self.deviation:.3f})"
        )


def spreads(reports: Sequence[FitReport]) -> tuple[Spread, Spread]:
    """Return the spread of accuracy and of macro F1 on the held-out texts.

    Args:
        reports: of the seeds, at least one; each has a best epoch on held-out texts.
    """
    found = [report.best for report in reports]
    accuracies = [epoch.held_out_accuracy or 0.0 for epoch in found if epoch]
    scores = [epoch.held_out_macro_f1 or 0.0 for epoch in found if epoch]
    return _spread(accuracies), _spread(scores)


def best_seed(reports: Mapping[int, FitReport]) -> int:
    """Return the seed with the highest accuracy on the held-out texts.

    Few held-out texts often give equal accuracies: then macro F1 decides, then the loss, then the
    order.
    """

    def rank(seed: int) -> tuple[float, float, float]:
        best = reports[seed].best
        if best is None:
            return (-1.0, -1.0, 0.0)
        loss = best.held_out_loss
        score = (best.held_out_accuracy or 0.0, best.held_out_macro_f1 or 0.0)
        return (*score, float("-inf") if loss is None else -loss)

    return max(reports, key=rank)


def _spread(values: Sequence[float]) -> Spread:
    deviation = stdev(values) if len(values) > 1 else 0.0
    return Spread(fmean(values), min(values), max(values), deviation)
