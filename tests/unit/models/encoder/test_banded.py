"""Local attention in blocks is attention with a mask."""

import pytest

from streamlabel.models.encoder.attention import Banded

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("reach", [1, 5, 64])
@pytest.mark.parametrize("length", [1, 2, 6, 7, 65, 66, 127, 128, 129, 257, 600])
def test_blocks_equal_one_call_with_a_mask(reach: int, length: int) -> None:
    torch.manual_seed(length)
    q, k, v = torch.randn(3, 2, 2, length, 8)
    places = torch.arange(length)
    near = (places[:, None] - places).abs() <= reach
    right = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=near)
    attention = Banded((False, True), reach)
    assert torch.allclose(attention(q, k, v, 0), right, atol=1e-5)
    assert torch.allclose(attention(q[:, :, :1], k, v, 0), right[:, :, :1], atol=1e-5)
    everywhere = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    assert torch.allclose(attention(q, k, v, 1), everywhere, atol=1e-5)
