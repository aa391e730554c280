"""The learning rate of a language model where none is given."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.training.fit_settings import default_rate


@pytest.mark.parametrize(
    ("method", "hidden_size", "rate"),
    [
        ("lora", 4096, 2e-4),
        ("full", 4096, 2e-5),
        ("lora", 576, 9.2e-4),  # SmolLM2-135M
        ("full", 576, 9.2e-5),
        ("lora", None, 2e-4),
    ],
)
def test_the_rate_is_what_the_help_says(method: str, hidden_size: int | None, rate: float) -> None:
    assert default_rate(method, hidden_size) == pytest.approx(rate, rel=0.01)  # type: ignore[arg-type] # of a parametrised test


@given(st.integers(1, 100_000), st.integers(1, 100_000))
def test_wider_models_never_learn_faster_and_narrow_ones_have_a_limit(a: int, b: int) -> None:
    narrow, wide = default_rate("lora", min(a, b)), default_rate("lora", max(a, b))
    assert 0 < wide <= narrow <= 1e-3
