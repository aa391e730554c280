"""Two alerts on a real Prometheus: they fire by their fault, and their remedy resolves them.

All of them are tried by ``python -m benchmarks.alerts``.
"""

from pathlib import Path

import pytest

from testing.alerting.prometheus import Prometheus, PrometheusMissingError
from testing.alerting.service_stories import absent, swap_refused
from testing.alerting.stage import Stage
from testing.kafka_broker import Cluster
from tests.requirements import missing

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


def test_a_missing_service_and_a_refused_swap_fire_and_resolve(
    kafka: Cluster, tmp_path: Path
) -> None:
    try:
        with Prometheus.running(tmp_path) as prometheus:
            stage = Stage(kafka, prometheus, tmp_path)
            try:
                swap_refused(stage, absent(stage))
            finally:
                stage.close()
            fired = prometheus.fired()
    except PrometheusMissingError as error:
        missing(str(error))
    assert [(each.alert, each.problem) for each in stage.attempts] == [
        ("StreamlabelAbsent", ""),
        ("StreamlabelSwapRefused", ""),
    ]
    for attempt in stage.attempts:
        assert attempt.fired_s is not None
        assert attempt.resolved_s is not None
    # others may fire, too: on a slow machine nobody reads for seconds, which are minutes here
    assert fired["StreamlabelAbsent"] == [""]
    assert fired["StreamlabelSwapRefused"] == ["ordinary"]
