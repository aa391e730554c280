"""Drift is called where it matters, told once, and not where a window is merely large."""

from dataclasses import replace

import numpy as np
import pytest

from streamlabel.config.settings import DriftSettings
from streamlabel.consumer.observability.drift_watch import DriftWatch, watch_drift
from streamlabel.consumer.routing.decision import Decision
from streamlabel.consumer.routing.drift import DriftMonitor, Shift
from streamlabel.models.calibration.calibration_sections import Reference
from tests.doubles import RecordingMetrics

WINDOW = 500


def traffic(
    items: int, seed: int, *, spam: float = 0.2, power: float = 4.0, words: float = 3.0
) -> list[tuple[str, float, int]]:
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(items) < spam, "spam", "ham")
    confidence = 1 - 0.5 * rng.random(items) ** power
    lengths = rng.lognormal(words, 0.7, items).astype(int) + 1
    return list(zip(labels.tolist(), confidence.tolist(), lengths.tolist(), strict=True))


def reference(items: int = 3000) -> Reference:
    seen = traffic(items, 0)
    at = np.linspace(0, 1, 201)
    labels = [label for label, _, _ in seen]
    return Reference(
        items=items,
        labels={"ham": labels.count("ham"), "spam": labels.count("spam"), "never": 0},
        confidence_quantiles=np.quantile([c for _, c, _ in seen], at).tolist(),
        length_quantiles=np.quantile([n for _, _, n in seen], at).tolist(),
    )


def judged(results: list[tuple[str, float, int]], **settings: float) -> list[tuple[Shift, ...]]:
    values = {"window_items": WINDOW, **settings}
    monitor = DriftMonitor(reference(), DriftSettings.model_validate(values))
    return [shifts for r in results if (shifts := monitor.add(*r)) is not None]


def drifted(windows: list[tuple[Shift, ...]]) -> list[set[str]]:
    return [{shift.feature for shift in shifts if shift.has_drifted} for shifts in windows]


def test_the_same_traffic_does_not_drift() -> None:
    windows = drifted(judged(traffic(50 * WINDOW, 1)))
    assert windows == [set()] * 50


@pytest.mark.parametrize(
    ("change", "feature"),
    [({"spam": 0.45}, "label"), ({"power": 1.5}, "confidence"), ({"words": 3.5}, "length")],
)
def test_a_shift_is_called_by_what_shifted(change: dict[str, float], feature: str) -> None:
    windows = drifted(judged(traffic(3 * WINDOW, 2, **change)))
    assert windows == [{feature}] * 3


def test_a_difference_that_is_sure_but_small_is_not_called() -> None:
    [shifts] = judged(traffic(20_000, 3, spam=0.24), window_items=20_000)
    label = shifts[0]
    assert label.p_value < 0.001 / 3
    assert not label.has_drifted


def test_a_difference_that_is_large_but_may_be_chance_is_not_called() -> None:
    [shifts] = judged([("spam", 0.9, 20)] * 3 + [("ham", 0.9, 20)], window_items=4)
    assert shifts[0].effect > 0.2
    assert not any(shift.has_drifted for shift in shifts)


def test_a_label_that_was_never_seen_before_has_a_finite_shift() -> None:
    [shifts] = judged([("never", 0.9, 20)] * WINDOW)
    assert shifts[0].has_drifted
    assert np.isfinite(shifts[0].effect)


def decision(label: str | None, confidence: float | None) -> Decision:
    return Decision("label", label, (), confidence, None, None, ())


def test_drift_is_counted_and_thresholds_are_tightened_once() -> None:
    metrics = RecordingMetrics()
    tightened: list[int] = []
    monitor = DriftMonitor(reference(), DriftSettings(window_items=WINDOW))
    watch = DriftWatch(
        monitor, names=("ham", "spam"), metrics=metrics, on_drift=lambda: tightened.append(1)
    )
    watch.saw([(decision(None, None), 5)] * WINDOW)
    assert not metrics.gauges
    watch.saw([(decision(label, c), n) for label, c, n in traffic(WINDOW, 1)])
    assert metrics.gauges["drifting", ()] == 0.0
    watch.saw([(decision(label, c), n) for label, c, n in traffic(2 * WINDOW, 2, spam=0.6)])
    assert metrics.gauges["drifting", ()] == 1.0
    assert metrics.gauges["drift_effect", (("feature", "label"),)] > 0.2
    assert tightened == [1]


def test_a_text_without_any_label_counts_under_the_most_probable_one() -> None:
    metrics = RecordingMetrics()
    monitor = DriftMonitor(reference(), DriftSettings(window_items=WINDOW))
    watch = DriftWatch(monitor, names=("ham", "spam"), metrics=metrics, on_drift=None)
    for label, confidence, length in traffic(WINDOW, 1):
        shown = (0.4, 0.1) if label == "ham" else (0.1, 0.4)
        none = replace(decision(None, confidence), probabilities=shown)
        watch.saw([(none, length)])
    assert metrics.gauges["drifting", ()] == 0.0


def test_without_a_calibration_there_is_nothing_to_compare_with() -> None:
    metrics = RecordingMetrics()
    assert watch_drift(None, DriftSettings(), metrics=metrics, tighten=lambda _: None) is None
