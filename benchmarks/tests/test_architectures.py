"""What the benchmark of architectures computes from its rates."""

import pytest
import torch

from benchmarks.architectures import worst_ratios
from testing import encoder_families


def test_the_worst_ratio_is_that_of_the_slowest_family_in_either_precision() -> None:
    rates = {
        "float32": {"bert": 100.0, "roberta": 99.0, "mpnet": 96.0, "deberta": 70.0},
        "bfloat16": {"bert": 400.0, "roberta": 360.0, "mpnet": 400.0, "deberta": 240.0},
    }
    assert worst_ratios(rates) == {
        "worst_family_over_bert": pytest.approx(0.9),
        "deberta_over_bert": pytest.approx(0.6),
    }


# transformers' own code, not ours
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.model
def test_models_of_the_benchmark_have_one_size() -> None:
    with torch.device("meta"):
        models = {family: encoder_families.build(family) for family in encoder_families.FAMILIES}
    sizes = {name: sum(w.numel() for w in model.parameters()) for name, model in models.items()}
    assert max(sizes.values()) < 1.02 * min(sizes.values()), sizes
