"""The start-up test decides from numbers alone; here they are made up."""

import pytest

from streamlabel.errors import ModelLoadError
from streamlabel.models.core.classifier import Prediction
from streamlabel.models.vllm.proof import prove_cache

COLD = Prediction((0.25, 0.75), (-1.5, -0.4))
# What random weights over a large vocabulary say: no label is likely, and one is likelier.
UNLIKELY = Prediction((0.4, 0.6), (-12.4, -12.0))


def test_a_cache_that_moves_nothing_is_fine() -> None:
    assert prove_cache([COLD, UNLIKELY], [COLD, UNLIKELY], tolerance=1e-3) == 0


@pytest.mark.parametrize(
    ("cold", "cached"),
    [
        (COLD, Prediction((0.25, 0.75), (-1.5, -0.5))),
        (UNLIKELY, Prediction((0.6, 0.4), (-12.0, -12.4))),
    ],
    ids=["likely labels", "unlikely labels"],
)
def test_a_cache_that_moves_a_number_is_refused(cold: Prediction, cached: Prediction) -> None:
    with pytest.raises(ModelLoadError, match="set it to false"):
        prove_cache([cold], [cached], tolerance=1e-3)


def test_the_logarithm_of_an_unlikely_label_may_move() -> None:
    moved = Prediction((0.0, 1.0), (-40.1, 0.0))
    assert prove_cache([Prediction((0.0, 1.0), (-40.0, 0.0))], [moved], tolerance=1e-3) == 0
