"""Tells metrics, log and thresholds what the drift monitor sees."""

from collections.abc import Callable, Iterable

import structlog

from streamlabel.config.settings import DriftSettings
from streamlabel.consumer.drift import DriftMonitor, Shift
from streamlabel.consumer.outcomes import Outcome
from streamlabel.consumer.ports import Metrics
from streamlabel.models.calibration_file import CalibrationFile

__all__ = ["DriftWatch", "watch_drift"]

_log = structlog.get_logger(__name__)


class DriftWatch:
    """Watches results as they are made.

    Args:
        monitor: judges windows.
        metrics: gets effect and p-value of every feature.
        on_drift: called at the first window that drifted; then never again: thresholds that were
            tightened stay so until someone acts and restarts.
    """

    def __init__(
        self, monitor: DriftMonitor, *, metrics: Metrics, on_drift: Callable[[], None] | None
    ) -> None:
        self._monitor = monitor
        self._metrics = metrics
        self._on_drift = on_drift

    def saw(self, results: Iterable[tuple[Outcome, int]]) -> None:
        """Take results in, each with the length of its text in characters."""
        for outcome, length in results:
            if outcome.label is None or outcome.confidence is None:
                continue
            shifts = self._monitor.add(outcome.label, outcome.confidence, length)
            if shifts is not None:
                self._report(shifts)

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
    """Return the watch that the settings ask for; None without a calibration to compare with.

    Blocks for as long as importing scipy takes.

    Raises:
        ConfigError: scipy is missing.
    """
    if calibration is None or calibration.reference is None or settings.window_items == 0:
        return None
    step = settings.tighten
    return DriftWatch(
        DriftMonitor(calibration.reference, settings),
        metrics=metrics,
        on_drift=(lambda: tighten(step)) if step else None,
    )
