"""Stored figures are short, and a small one is not 0."""

import pytest

from benchmarks.results_file import rounded


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (0.930049, 0.93),
        (1234.56789, 1234.5679),
        (5.21234e-06, 5.21e-06),
        (-0.00123456, -0.00123),
        (0.0, 0.0),
    ],
)
def test_a_figure_is_rounded_to_what_it_says(value: float, stored: float) -> None:
    assert rounded(value) == stored
