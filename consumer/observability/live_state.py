"""What the live page shows: the state of the service as one JSON document, without any text.

Everything comes from metrics and settings, so nothing is counted for the page alone.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.samples import Sample

from streamlabel import __version__
from streamlabel.config.settings import Settings
from streamlabel.consumer.observability.health import Health
from streamlabel.consumer.plans.deployment import Deployment

__all__ = ["LiveState"]

# Rates are means over so many samples, one a second.
_SAMPLES: Final = 10
_LONGEST: Final = 20  # rows of a table
_NAMES: Final = tuple(
    f"streamlabel_{name}"
    for name in (
        "records_consumed_total",
        "results_total",
        "consumer_lag_records",
        "consumer_lag_seconds",
        "in_flight_records",
        "drift_effect",
    )
)


class _Totals(NamedTuple):
    at_s: float
    read: float
    by_route: Mapping[str, float]


class LiveState:
    """Samples the metrics once a second.

    Args:
        registry: of the service's metrics.
        health: of the service.
        settings: of the service.
    """

    def __init__(self, registry: CollectorRegistry, health: Health, settings: Settings) -> None:
        self._registry = registry.restricted_registry(_NAMES)
        self._health = health
        self._settings = settings
        self._deployments: Callable[[], Iterable[Deployment]] = lambda: ()
        self._totals: deque[_Totals] = deque(maxlen=_SAMPLES + 1)
        self._errors: dict[str, tuple[float, float]] = {}  # reason -> records, when it last grew
        self._now: dict[str, list[Sample]] = {}

    def show_deployments(self, present: Callable[[], Iterable[Deployment]]) -> None:
        """Show from now on the deployments that this returns."""
        self._deployments = present

    def sample(self, now_s: float) -> None:
        """Take one sample; to be called once a second."""
        self._now = {}
        for family in self._registry.collect():
            for sample in family.samples:
                self._now.setdefault(sample.name, []).append(sample)
        by_route = _summed(self._of("results_total"), "route")
        read = sum(sample.value for sample in self._of("records_consumed_total"))
        self._totals.append(_Totals(now_s, read, by_route))
        for reason, records in self._by_reason("dead_letter").items():
            if records > self._errors.get(reason, (0.0, 0.0))[0]:
                self._errors[reason] = (records, now_s)

    def document(self, now_s: float) -> dict[str, Any]:
        """Return the state as of the last sample."""
        settings = self._settings
        errors = sorted(self._errors.items(), key=lambda each: -each[1][1])
        reviews = sorted(self._by_reason("review").items(), key=lambda each: -each[1])
        watched = [task.routing for task in settings.tasks.values()] or [settings.routing]
        watched += [stage.routing for stage in settings.cascade]
        return {
            "version": __version__,
            "group": settings.kafka.group_id,
            "state": [
                {"name": each.name, "ok": each.ok, "detail": each.detail}
                for each in (*self._health.ready().checks, *self._health.live(now_s).checks)
            ],
            "rates": self._rates(),
            "in_flight": sum(sample.value for sample in self._of("in_flight_records")),
            "lag": self._lag(),
            "errors": [
                {"reason": reason, "records": records, "ago_s": now_s - at_s}
                for reason, (records, at_s) in errors[:_LONGEST]
            ],
            "reviews": [{"reason": name, "records": count} for name, count in reviews[:_LONGEST]],
            "deployments": [_deployment(each) for each in self._deployments()],
            "drift": [
                {"feature": sample.labels["feature"], "effect": sample.value}
                for sample in self._of("drift_effect")
            ],
            "watches_drift": any(each.calibration is not None for each in watched),
            "topics": {
                "input": [*settings.input.weights],
                "labels": [*settings.labels_topics],
                "review": [*settings.review_topics],
                "dead letters": [settings.output.dead_letter_topic],
            },
        }

    def _of(self, name: str) -> list[Sample]:
        return self._now.get(f"streamlabel_{name}", [])

    def _by_reason(self, route: str) -> dict[str, float]:
        chosen = [each for each in self._of("results_total") if each.labels["route"] == route]
        return {name: count for name, count in _summed(chosen, "reason").items() if count}

    def _rates(self) -> dict[str, float]:
        """Return records a second over the last samples: read, and by route."""
        first, last = (self._totals[0], self._totals[-1]) if self._totals else (None, None)
        if first is None or last is None or last.at_s <= first.at_s:
            return {}
        seconds = last.at_s - first.at_s
        rates = {"read": (last.read - first.read) / seconds}
        for route, count in last.by_route.items():
            rates[route] = (count - first.by_route.get(route, 0.0)) / seconds
        return rates

    def _lag(self) -> list[dict[str, Any]]:
        ages = {_partition(each): each.value for each in self._of("consumer_lag_seconds")}
        behind = sorted(self._of("consumer_lag_records"), key=lambda each: -each.value)
        return [
            {
                "partition": _partition(each),
                "records": each.value,
                "seconds": ages.get(_partition(each)),
            }
            for each in behind[:_LONGEST]
        ]


def _summed(samples: Iterable[Sample], label: str) -> dict[str, float]:
    sums: dict[str, float] = {}
    for each in samples:
        sums[each.labels[label]] = sums.get(each.labels[label], 0.0) + each.value
    return sums


def _partition(sample: Sample) -> str:
    return f"{sample.labels['topic']}-{sample.labels['partition']}"


def _deployment(each: Deployment) -> dict[str, Any]:
    identity, policy = each.identity, each.policy
    thresholds = dict(zip(policy.labels.names, policy.thresholds, strict=True))
    # a threshold above 1 is never reached; infinity would not be JSON
    return {
        "id": each.id,
        "model": f"{identity.name} ({identity.backend}, {identity.device}, {identity.dtype})",
        "thresholds": {name: min(value, 2.0) for name, value in thresholds.items()},
    }
