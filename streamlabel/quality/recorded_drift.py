"""Recorded outputs against the data of the calibration, without a running service."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamlabel.config.settings import DriftSettings
from streamlabel.consumer.routing.drift import DriftMonitor, Shift
from streamlabel.errors import ConfigError
from streamlabel.models.calibration.calibration_sections import Reference
from streamlabel.quality.recorded import Recorded

__all__ = ["RecordedDrift", "recorded_drift"]


@dataclass(frozen=True, slots=True)
class RecordedDrift:
    """How outputs differ from the data of the calibration.

    Attributes:
        texts: outputs, each id once.
        shifts: of labels and confidences; outputs have no lengths of texts.
        shares: label -> its share in the calibration data, and in the outputs.
        unread: lines that are no outputs, or have no answer.
    """

    texts: int
    shifts: tuple[Shift, ...]
    shares: Mapping[str, tuple[float, float]]
    unread: int


def recorded_drift(path: Path, reference: Reference, settings: DriftSettings) -> RecordedDrift:
    """Return how outputs differ from the data of the calibration.

    Args:
        path: outputs as JSON lines: of the labels *and* the review topic, or of streamlabel
            classify. One topic alone has the confident or the uncertain texts only.
        reference: statistics of the calibration data.
        settings: significance and smallest differences.

    Raises:
        ConfigError: the file cannot be read, has no outputs, or has other labels; scipy is missing.
    """
    monitor = DriftMonitor(reference, settings)
    counts = Counter[str]()
    confidences: list[float] = []
    found = Recorded(path)
    for output in found:
        counts[_label(output)] += 1
        confidences.append(float(output["confidence"]))
    if unknown := sorted(counts.keys() - reference.labels.keys()):
        raise ConfigError(
            f"{path}: has the labels {', '.join(unknown)}, which the calibration does not have: it"
            " was made with another model or task"
        )
    labels = [counts[name] for name in reference.labels]
    items = max(1, sum(reference.labels.values()))
    shares = {
        name: (then / items, counts[name] / len(confidences))
        for name, then in reference.labels.items()
    }
    shifts = monitor.judged(labels, confidences, ())
    return RecordedDrift(len(confidences), shifts, shares, found.unread)


def _label(output: Mapping[str, Any]) -> str:
    """Return the most probable label, which the calibration has of texts without any label, too."""
    shown: Mapping[str, float] = output["probabilities"]
    return output["label"] or max(shown, key=shown.__getitem__)
