"""What config.json says about rotary layers, and that turning equals its definition."""

import math

import numpy as np
import pytest

from streamlabel.models.encoder.rotary import Rotary, RotaryLayers, read_layers, side_by_side


def test_files_of_both_versions_of_transformers_say_the_same() -> None:
    old = {"global_attn_every_n_layers": 2, "global_rope_theta": 9.0, "local_rope_theta": 4}
    new = {
        "layer_types": ["full_attention", "sliding_attention", "full_attention"],
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 9.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 4.0},
        },
    }
    assert read_layers(old, 3) == read_layers(new, 3)
    assert read_layers(old, 3) == RotaryLayers((True, False, True), (4.0, 9.0))


def test_defaults_are_every_third_layer_and_the_angles_of_modernbert() -> None:
    assert read_layers({}, 4) == RotaryLayers((True, False, False, True), (10_000.0, 160_000.0))


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({"layer_types": ["full_attention"]}, "layer_types"),
        ({"layer_types": ["full_attention", "chunked_attention"]}, "layer_types"),
        ({"layer_types": "full_attention"}, "layer_types"),
        ({"global_attn_every_n_layers": 0}, "global_attn_every_n_layers"),
        ({"rope_parameters": {"full_attention": {"rope_type": "yarn"}}}, "rope_type"),
        ({"rope_parameters": {"full_attention": {"factor": 2.0}}}, "rope_parameters"),
        ({"rope_parameters": ["full_attention"]}, "rope_parameters"),
        ({"global_rope_theta": 0}, "rope_theta"),
        ({"local_rope_theta": "10000"}, "rope_theta"),
        ({"local_rope_theta": True}, "rope_theta"),
    ],
)
def test_anything_else_is_refused_by_name(config: dict[str, object], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        read_layers(config, 2)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_turned_pairs_keep_products_of_equal_distance(precision: str) -> None:
    """A product of a turned query and key depends on their distance, and pairs turn as defined."""
    torch = pytest.importorskip("torch")
    size, heads = 8, 3
    rotary = Rotary.of(RotaryLayers((True,), (10.0, 100.0)), positions=9, size=size)
    x = torch.randn(1, 1, heads, size).to(getattr(torch, precision)).repeat(9, 2, 1, 1)
    before = x[0, 0].float().numpy().copy()
    rotary.turn(x, rotary.turns(torch.arange(9)), 0)
    for place in range(9):
        for pair in range(size // 2):
            angle = place / 100.0 ** (2 * pair / size)
            cos, sin = math.cos(angle), math.sin(angle)
            one, other = before[:, 2 * pair], before[:, 2 * pair + 1]
            found = x[place, 1, :, 2 * pair : 2 * pair + 2].float().numpy()
            right = np.stack([one * cos - other * sin, other * cos + one * sin], axis=1)
            assert found == pytest.approx(right, abs=1e-5 if precision == "float32" else 0.05)


def test_weights_are_put_side_by_side_within_each_head() -> None:
    torch = pytest.importorskip("torch")
    rows = torch.arange(12)[:, None]
    assert side_by_side(rows, 2)[:, 0].tolist() == [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]
