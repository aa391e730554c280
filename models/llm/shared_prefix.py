"""The KV cache of the instruction, computed once and shared by all rows of all batches.

transformers' own cache grows with every batch and would keep a copy of the prefix per row and
layer. One-token answers need neither: each layer concatenates the prefix with its rows, computes
attention, and stores nothing.
"""

from collections.abc import Sequence
from typing import Any

__all__ = ["compute_shared"]

# With fewer tokens the concatenation costs as much as it saves.
LEAST_TOKENS = 16


def compute_shared(model: Any, ids: Sequence[int], *, device: str) -> Any | None:  # noqa: ANN401 untyped library
    """Return a read-only KV cache of ``ids``, or None if the model has another kind of state.

    Sliding windows, linear attention and other states are not shared, because they change with the
    tokens that follow.

    Args:
        model: a causal language model in eval mode.
        ids: common prefix of all rows.
        device: the model's.
    """
    import torch
    from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

    class SharedLayer(DynamicLayer):  # type: ignore[misc] # transformers is untyped here
        def __init__(self, keys: Any, values: Any) -> None:  # noqa: ANN401 tensors
            super().__init__()
            self.keys, self.values = keys, values  # (1, H, P, D)
            self.dtype, self.device = keys.dtype, keys.device
            self.is_initialized = True

        def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:  # noqa: ANN401 tensors
            rows = key_states.shape[0]
            return (
                torch.cat([self.keys.expand(rows, -1, -1, -1), key_states], dim=-2),
                torch.cat([self.values.expand(rows, -1, -1, -1), value_states], dim=-2),
            )  # (B, H, P + T, D)

    if len(ids) < LEAST_TOKENS:
        return None
    computed = DynamicCache(config=model.config)
    with torch.inference_mode():
        model(
            input_ids=torch.tensor([list(ids)], device=device),
            past_key_values=computed,
            use_cache=True,
            logits_to_keep=1,
        )
    if any(
        type(layer) is not DynamicLayer or not layer.is_initialized for layer in computed.layers
    ):
        return None
    return Cache(layers=[SharedLayer(layer.keys, layer.values) for layer in computed.layers])
