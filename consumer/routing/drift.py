"""Compares the traffic with that of the calibration, window by window. Pure.

A window has drifted if the difference is statistically significant *and* large enough: a test alone
would report every large window.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from streamlabel.config.settings import DriftSettings
from streamlabel.extras import require
from streamlabel.models.calibration.calibration_sections import Reference

__all__ = ["DriftMonitor", "Feature", "Shift"]

Feature = Literal["label", "confidence", "length"]

FEATURES: Final = 3
# Added to every count, so that a label that does not occur on one side has a nonzero share.
_HALF: Final = 0.5


@dataclass(frozen=True, slots=True)
class Shift:
    """How far one feature of a window is from the reference.

    Attributes:
        effect: label: population stability index, >= 0; else: Kolmogorov-Smirnov distance, [0, 1].
        p_value: probability of such a difference without drift.
        has_drifted: whether both criteria are met.
    """

    feature: Feature
    effect: float
    p_value: float
    has_drifted: bool


class DriftMonitor:
    """Collects results and evaluates each full window.

    Args:
        reference: the distributions of the calibration data.
        settings: window, significance, minimum differences.

    Raises:
        ConfigError: scipy is not installed.
    """

    def __init__(self, reference: Reference, settings: DriftSettings) -> None:
        require("drift.window_items", "scipy", extra="evaluate", otherwise="set it to 0")
        import scipy.stats  # noqa: F401, PLC0415  takes a second, so it is imported at start

        self._reference = reference
        self._settings = settings
        self._places = {name: place for place, name in enumerate(reference.labels)}
        self._labels: list[int] = []
        self._confidences: list[float] = []
        self._lengths: list[int] = []

    def add(self, label: str, confidence: float, length: int) -> tuple[Shift, ...] | None:
        """Add one result; return the evaluation if it completes a window.

        Args:
            label: the predicted one.
            confidence: of the prediction.
            length: of the text, in characters.
        """
        self._labels.append(self._places[label])
        self._confidences.append(confidence)
        self._lengths.append(length)
        if len(self._labels) < self._settings.window_items:
            return None
        labels = np.bincount(self._labels, minlength=len(self._places)).tolist()
        shifts = self.judged(labels, self._confidences, self._lengths)
        self._labels, self._confidences, self._lengths = [], [], []
        return shifts

    def judged(
        self, labels: Sequence[int], confidences: Sequence[float], lengths: Sequence[int]
    ) -> tuple[Shift, ...]:
        """Return the evaluation of results that are not a window.

        Args:
            labels: how many results have each label, (K,), in the order of the reference.
            confidences: of the results, at least one.
            lengths: of their texts, in characters; empty: not known, and not compared.
        """
        reference, least = self._reference, self._settings.min_distance
        shifts = (
            self._label_shift(labels),
            self._distance("confidence", reference.confidence_quantiles, confidences, least),
        )
        if not lengths:
            return shifts
        return (*shifts, self._distance("length", reference.length_quantiles, lengths, least))

    def _label_shift(self, labels: Sequence[int]) -> Shift:
        from scipy.stats import chi2_contingency  # noqa: PLC0415  see __init__

        counts = np.array([list(self._reference.labels.values()), list(labels)])
        seen = counts[:, counts.sum(axis=0) > 0]
        p_value = float(chi2_contingency(seen).pvalue) if seen.shape[1] > 1 else 1.0
        then, now = (counts + _HALF) / (counts + _HALF).sum(axis=1, keepdims=True)
        effect = float(((now - then) * np.log(now / then)).sum())
        return self._judged("label", effect, p_value, self._settings.min_label_shift)

    def _distance(
        self,
        feature: Feature,
        quantiles: Sequence[float],
        values: Sequence[float] | Sequence[int],
        least: float,
    ) -> Shift:
        from scipy.special import kolmogorov  # noqa: PLC0415  see __init__
        from scipy.stats import ks_2samp  # noqa: PLC0415

        # the quantiles represent the reference; the p-value uses its true number of texts
        effect = float(ks_2samp(quantiles, values, method="asymp").statistic)
        items, then = len(values), self._reference.items
        p_value = float(kolmogorov(effect * np.sqrt(items * then / (items + then))))
        return self._judged(feature, effect, p_value, least)

    def _judged(self, feature: Feature, effect: float, p_value: float, least: float) -> Shift:
        is_sure = p_value < self._settings.significance / FEATURES  # Bonferroni
        return Shift(feature, effect, p_value, is_sure and effect >= least)
