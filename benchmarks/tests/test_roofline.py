"""What a row needs is counted by hand, and the figures are the least of what they name."""

import pytest

pytest.importorskip("torch")

from benchmarks.roofline import SHAPES, Shape, figures_of, useful_flops


def test_a_row_of_two_layers_by_hand() -> None:
    shape = Shape(hidden=4, wide=8, layers=2)
    first = 3 * (2 * 4 * (3 * 4 + 4 + 8 + 8) + 3 * (2 * 4 + 2 * 4))
    # keys and values of three tokens, the query and all else of one
    last = 3 * 2 * 4 * 8 + 2 * 4 * (4 + 4 + 8 + 8) + 3 * (2 * 4 + 2 * 4)
    assert useful_flops(3, shape) == first + last


def test_distances_cost_a_product_for_each_query_and_key() -> None:
    plain, by_distance = Shape(4, 8, 2), Shape(4, 8, 2, by_distance=2)
    pairs = 5 * 5 + 5  # the last layer has one query
    assert useful_flops(5, by_distance) - useful_flops(5, plain) == pairs * 2 * 2 * 4


@pytest.mark.parametrize("length", [1, 3, 4, 9, 40])
def test_local_layers_see_the_tokens_of_their_window(length: int) -> None:
    whole, local = Shape(4, 8, 3), Shape(4, 8, 3, window=6)
    seen = sum(abs(i - j) <= 3 for i in range(length) for j in range(length))
    # of three layers the first is global, and the last has one query, which sees what follows it
    unseen = length * length - seen + length - min(length, 4)
    assert useful_flops(length, whole) - useful_flops(length, local) == pytest.approx(
        unseen * 4 * 4
    )


def test_each_figure_is_the_least_of_its_models() -> None:
    shares = {(name, "float32", length): 0.9 for name in SHAPES for length in (16, 64)}
    shares |= {("minilm", "bfloat16", 16): 0.8, ("bert_base", "bfloat16", 16): 0.7}
    shares["minilm", "float32", 64] = 0.85
    shares["mpnet", "float32", 16] = 0.84
    shares["deberta", "float32", 16] = 0.5
    found = figures_of(shares)
    assert found["float32_64_share"] == found["useful_share"] == 0.85
    assert found["mpnet_float32_16_share"] == found["worst_useful_share"] == 0.84
    assert found["deberta_useful_share"] == 0.5
    assert found["bfloat16_useful_share"] == 0.7
