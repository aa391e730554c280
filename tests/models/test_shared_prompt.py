"""What prompts begin with is computed once, and nothing else changes."""

from pathlib import Path

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlabel.models.devices.compute_type import ComputeType
from streamlabel.training.answer_tuning import answer_model
from streamlabel.training.frozen_layers import padded
from streamlabel.training.shared_prompt import (
    LEAST_SHARED,
    Packed,
    pack,
    sees_only_the_mask,
    shared_length,
)
from streamlabel.training.training_rows import LENGTH_STEP

pytestmark = pytest.mark.model

ANSWERS = (5, 9, 30)
TOKENS = st.integers(1, 60)
BEGINNING = list(range(3, 3 + LEAST_SHARED + 4))


def causal(kind: str = "Qwen2", **config: object) -> torch.nn.Module:
    torch.manual_seed(3)
    sizes = {
        "vocab_size": 64,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "initializer_range": 0.4,
        "pad_token_id": 0,
    }
    made = getattr(transformers, f"{kind}Config")(**sizes | config)
    return getattr(transformers, f"{kind}ForCausalLM")(made).float()  # type: ignore[no-any-return]


def far_from_zero(model: torch.nn.Module) -> torch.nn.Module:
    """Move all logits by 40, as those of language models are."""
    head = model.get_output_embeddings()  # type: ignore[operator] # transformers is untyped
    head.register_forward_hook(lambda _module, _inputs, logits: logits + 40)
    return model


@given(
    shared=st.lists(TOKENS, min_size=LEAST_SHARED, max_size=20),
    rests=st.lists(st.lists(TOKENS, min_size=1, max_size=9), min_size=2, max_size=5),
)
@settings(max_examples=15, deadline=None)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_logits_and_gradients_are_those_of_separate_rows(
    attention: str, shared: list[int], rests: list[list[int]]
) -> None:
    model = causal()
    model.set_attn_implementation(attention)  # type: ignore[operator] # transformers is untyped
    learner = answer_model(model, ANSWERS, device="cpu")
    rows = [torch.tensor([*shared, *rest]) for rest in rests]
    found = []
    for packs in (False, True):
        learner.packs = packs
        learner.zero_grad()
        logits = learner(*padded(rows)).logits
        logits.logsumexp(1).sum().backward()
        found.append((logits.detach(), [p.grad.clone() for p in learner.parameters()]))
    (apart, slow), (together, fast) = found
    assert torch.allclose(apart, together, atol=1e-4)
    for one, other in zip(slow, fast, strict=True):
        assert torch.allclose(one, other, atol=1e-3)


@given(st.lists(st.lists(TOKENS, min_size=1, max_size=9), min_size=2, max_size=5))
def test_each_token_sees_the_beginning_and_its_own_row(rests: list[list[int]]) -> None:
    rows = [torch.tensor([*BEGINNING, *rest]) for rest in rests]
    shared = shared_length(rows)
    assert all(torch.equal(row[:shared], rows[0][:shared]) for row in rows)
    assert shared < min(map(len, rows))
    packed = Packed(rows, shared)
    assert packed.ids.shape[1] % LENGTH_STEP == 0, (
        "few lengths, for each of which kernels are generated"
    )
    assert packed.mask.any(-1).all(), "a token that sees nothing has no softmax"
    for row, end in zip(rows, packed.ends.tolist(), strict=True):
        seen = packed.mask[0, 0, end]
        assert packed.ids[0][seen].tolist() == row.tolist()
        assert packed.positions[0][seen].tolist() == list(range(len(row)))


def test_rows_that_have_little_in_common_are_left_apart() -> None:
    assert pack([torch.arange(20)]) is None
    assert pack([torch.arange(20), torch.arange(1, 21)]) is None
    assert pack([torch.arange(20), torch.arange(20)]) is not None
    assert pack([torch.arange(4000), torch.cat([torch.arange(9), torch.arange(3000)])]) is None


def test_only_models_that_see_what_the_mask_says_are_packed(tmp_path: Path) -> None:
    rows = [torch.tensor([*BEGINNING, *rest]) for rest in ([7, 8], [9], [11, 12, 13])]

    def accepts(model: torch.nn.Module, precision: ComputeType = "float32") -> bool:
        learner = answer_model(model, range(60), device="cpu", precision=precision)
        is_accepted = sees_only_the_mask(learner, rows)
        assert learner.packs is False
        return is_accepted

    assert accepts(causal())
    assert accepts(causal("Llama"))
    assert accepts(causal(), "bfloat16")
    assert accepts(far_from_zero(causal()), "bfloat16"), "steps of 0.25, larger than the spread"
    assert not accepts(far_from_zero(causal("Bloom", n_head=4)), "bfloat16")
    assert not accepts(causal("Mistral", sliding_window=8)), "looks back only so far"
    assert not accepts(causal("Bloom", n_head=4)), "makes its positions of the mask"
    mamba = transformers.MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=2)
    assert not accepts(transformers.MambaForCausalLM(mamba)), "carries a state along the row"
