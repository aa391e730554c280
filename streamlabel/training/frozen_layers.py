"""Computes the frozen lower layers of an encoder once per text, to save training time.

Otherwise every epoch would compute the same hidden states of the lower layers again. Here they are
computed once; the model is then trained on them, without embeddings and lower layers.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from streamlabel.errors import ModelLoadError

__all__ = ["frozen_states", "layer_count", "padded", "without_frozen"]

_BATCH_ITEMS = 32


def frozen_states(model: Any, rows: Sequence[Sequence[int]], *, first: int) -> list[Any]:  # noqa: ANN401 torch modules of any architecture
    """Return for each row of token ids the input of layer ``first``: (T, hidden).

    After the last layer, where all are frozen, it is the output of that one.

    Raises:
        ModelLoadError: the encoder does not consist of embeddings and one stack of layers.
    """
    import torch

    seen: list[Any] = []
    stack = _stack(model.base_model)
    if first < len(stack):
        hook = stack[first].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    else:
        hook = stack[-1].register_forward_hook(lambda _, _inputs, out: seen.append(_hidden(out)))
    states: list[Any] = [None] * len(rows)
    by_length = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    model.eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(rows), _BATCH_ITEMS):
                batch = by_length[start : start + _BATCH_ITEMS]
                ids, mask = padded([torch.as_tensor(rows[i]) for i in batch])
                model(input_ids=ids, attention_mask=mask)
                hidden = seen.pop()  # (B, T, hidden)
                for row, i in enumerate(batch):
                    states[i] = hidden[row, : len(rows[i])].clone()
    finally:
        hook.remove()
    return states


def _hidden(output: Any) -> Any:  # noqa: ANN401 a tensor, in a tuple in older architectures
    return output[0] if isinstance(output, tuple) else output


def padded(tensors: Sequence[Any]) -> tuple[Any, Any]:
    """Return tensors of (T, ...) as one of (B, T, ...), padded with 0, and its mask (B, T)."""
    import torch

    batch = torch.nn.utils.rnn.pad_sequence(list(tensors), batch_first=True)
    lengths = torch.tensor([len(tensor) for tensor in tensors])
    return batch, (torch.arange(batch.shape[1])[None, :] < lengths[:, None]).long()


@contextmanager
def without_frozen(model: Any, *, first: int) -> Iterator[None]:  # noqa: ANN401 torch modules of any architecture
    """Remove embeddings and lower layers in this context: ``inputs_embeds`` enters ``first``."""
    import torch

    class Through(torch.nn.Module):
        def forward(
            self,
            input_ids: object = None,
            inputs_embeds: object = None,
            **_others: object,
        ) -> object:
            return inputs_embeds

    base = model.base_model
    stack, embeddings = _stack(base), base.embeddings
    layers = list(stack)
    base.embeddings = Through()
    del stack[:first]
    try:
        yield
    finally:
        base.embeddings = embeddings
        del stack[:]
        stack.extend(layers)


def _stack(base: Any) -> Any:  # noqa: ANN401 torch modules of any architecture
    """Return the list of layers of a BERT-like encoder."""
    for name in ("encoder", "transformer"):
        for attribute in ("layer", "layers"):
            stack = getattr(getattr(base, name, None), attribute, None)
            if stack is not None and hasattr(base, "embeddings"):
                return stack
    raise ModelLoadError(
        f"{type(base).__name__} has no stack of layers that can be frozen; set trained_layers to"
        " None to train all layers"
    )


def layer_count(model: Any) -> int:  # noqa: ANN401 torch modules of any architecture
    """Return the number of layers of the encoder."""
    return len(_stack(model.base_model))
