"""The metrics of one deployment: every series has its id as the label ``deployment``."""

from collections.abc import Sequence

from streamlabel.consumer.core.metric_names import CounterName, GaugeName, HistogramName
from streamlabel.consumer.core.ports import Metrics

__all__ = ["DeploymentMetrics"]


class DeploymentMetrics:
    """Implements ``ports.Metrics`` for the names that have the label ``deployment``.

    Args:
        metrics: where they go.
        deployment: value of the label.
    """

    def __init__(self, metrics: Metrics, deployment: str) -> None:
        self._metrics = metrics
        self._deployment = deployment

    def increment(self, name: CounterName, amount: float = 1, **labels: str) -> None:
        """Add to a counter; ``amount`` >= 0."""
        self._metrics.increment(name, amount, deployment=self._deployment, **labels)

    def observe(self, name: HistogramName, value: float, **labels: str) -> None:
        """Put one value into a histogram."""
        self._metrics.observe(name, value, deployment=self._deployment, **labels)

    def observe_all(self, name: HistogramName, values: Sequence[float], **labels: str) -> None:
        """Put several values into a histogram."""
        self._metrics.observe_all(name, values, deployment=self._deployment, **labels)

    def set(self, name: GaugeName, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._metrics.set(name, value, deployment=self._deployment, **labels)
