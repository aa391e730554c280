"""What the benchmark of architectures computes from its rates."""

import pytest

from benchmarks.architectures import worst_ratios


def test_the_worst_ratio_is_that_of_the_slowest_family_in_either_precision() -> None:
    rates = {
        "float32": {"bert": 100.0, "roberta": 99.0, "mpnet": 96.0, "deberta": 70.0},
        "bfloat16": {"bert": 400.0, "roberta": 360.0, "mpnet": 400.0, "deberta": 240.0},
    }
    assert worst_ratios(rates) == {
        "worst_family_over_bert": pytest.approx(0.9),
        "deberta_over_bert": pytest.approx(0.6),
    }
