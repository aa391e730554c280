"""Passes the results of the drift monitor to metrics, log and thresholds."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import structlog

from streamlabel.config.settings import DriftSettings
from streamlabel.consumer.batching.deployment_metrics import DeploymentMetrics
from streamlabel.consumer.core.ports import Metrics
from streamlabel.consumer.plans.deployment import Deployment
from streamlabel.consumer.routing.decision import Decision
from streamlabel.consumer.routing.drift import DriftMonitor, Shift
from streamlabel.models.calibration.calibration_file import CalibrationFile

__all__ = ["DriftWatch", "drift_watches", "watch_drift"]

_log = structlog.get_logger(__name__)


class DriftWatch:
    """Monitors the decisions of a deployment.

    Args:
        monitor: evaluates windows.
        names: of the labels, in order.
        metrics: gets effect and p-value of every feature.
        on_drift: called at the first window that has drifted, and only then: tightened thresholds
            remain until an operator restarts the service.
    """

    def __init__(
        self,
        monitor: DriftMonitor,
        *,
        names: Sequence[str],
        metrics: Metrics,
        on_drift: Callable[[], None] | None,
    ) -> None:
        self._monitor = monitor
        self._names = names
        self._metrics = metrics
        self._on_drift = on_drift

    def saw(self, decisions: Iterable[tuple[Decision, int]]) -> None:
        """Add decisions, each with the length of its text in characters."""
        for decision, length in decisions:
            label = decision.label or self._likeliest(decision)
            if label is None or decision.confidence is None:
                continue
            shifts = self._monitor.add(label, decision.confidence, length)
            if shifts is not None:
                self._report(shifts)

    def _likeliest(self, decision: Decision) -> str | None:
        """Return the most probable label, which the reference counts where none is predicted."""
        if decision.probabilities is None:
            return None
        return self._names[decision.probabilities.index(max(decision.probabilities))]

    def _report(self, shifts: tuple[Shift, ...]) -> None:
        for shift in shifts:
            self._metrics.set("drift_effect", shift.effect, feature=shift.feature)
            self._metrics.set("drift_p_value", shift.p_value, feature=shift.feature)
        drifted = [shift.feature for shift in shifts if shift.has_drifted]
        self._metrics.set("drifting", float(bool(drifted)))
        effects = {f"{shift.feature}_effect": round(shift.effect, 4) for shift in shifts}
        if not drifted:
            _log.info("drift_window", **effects)
            return
        _log.warning("traffic_drifted", features=drifted, tightens=bool(self._on_drift), **effects)
        if self._on_drift is not None:
            self._on_drift()
            self._on_drift = None


def watch_drift(
    calibration: CalibrationFile | None,
    settings: DriftSettings,
    *,
    metrics: Metrics,
    tighten: Callable[[float], None],
) -> DriftWatch | None:
    """Return the drift watch for the settings; None if drift detection is off.

    Blocks for as long as importing scipy takes.

    Raises:
        ConfigError: scipy is missing.
    """
    if calibration is None or calibration.reference is None or settings.window_items == 0:
        return None
    step = settings.tighten
    return DriftWatch(
        DriftMonitor(calibration.reference, settings),
        names=calibration.model.labels,
        metrics=metrics,
        on_drift=(lambda: tighten(step)) if step else None,
    )


def drift_watches(
    calibrations: Mapping[str, CalibrationFile | None],
    settings: DriftSettings,
    deployments: Sequence[Deployment],
    metrics: Metrics,
    use: Callable[[Deployment], None],
) -> dict[str, DriftWatch]:
    """Return the drift watch of each deployment that has a calibration; they tighten thresholds.

    Blocks for as long as importing scipy takes.

    Args:
        calibrations: by the id of the deployment.
        settings: of drift detection.
        deployments: of the service.
        metrics: gets effects and p-values.
        use: replaces a deployment by one with stricter thresholds.

    Raises:
        ConfigError: scipy is missing.
    """
    found = {
        each.id: watch_drift(
            calibrations[each.id],
            settings,
            metrics=DeploymentMetrics(metrics, each.id),
            tighten=partial(_tighten, use, each),
        )
        for each in deployments
    }
    return {name: watch for name, watch in found.items() if watch is not None}


def _tighten(use: Callable[[Deployment], None], deployment: Deployment, step: float) -> None:
    use(deployment.tightened(step))
