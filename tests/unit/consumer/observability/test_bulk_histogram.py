"""Many values in one step are the same as one after the other."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from streamlabel.consumer.observability.bulk_histogram import BulkHistogram

BOUNDS = (0.0, 0.1, 0.5, 1.0, 10.0)
VALUES = st.floats(-1e6, 1e6) | st.sampled_from((*BOUNDS, math.inf, math.nan))


def sampled(histogram: BulkHistogram) -> dict[tuple[str, str], float]:
    [metric] = histogram.collect()
    samples = [each for each in metric.samples if each.name != "x_created"]
    return {(each.name, each.labels.get("le", "")): each.value for each in samples}


@given(values=st.lists(VALUES, max_size=50), before=st.lists(VALUES, max_size=3))
def test_all_at_once_fill_the_buckets_that_single_ones_fill(
    values: list[float], before: list[float]
) -> None:
    together, alone = (
        BulkHistogram("x", "x", buckets=BOUNDS, registry=CollectorRegistry()) for _ in range(2)
    )
    for value in before:
        together.observe(value)
        alone.observe(value)
    together.observe_all(values)
    for value in values:
        alone.observe(value)
    found, expected = sampled(together), sampled(alone)
    assert found.pop(("x_sum", "")) == pytest.approx(
        expected.pop(("x_sum", "")), abs=1e-6, nan_ok=True
    )
    assert found == expected
