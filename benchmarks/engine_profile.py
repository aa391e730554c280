"""The encoder's time by kind of operator, from torch's profiler."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from streamlabel.config.model import EncoderSettings
from streamlabel.models.devices.device import choose_device
from streamlabel.models.encoder.packed_weights import load_packed
from streamlabel.models.encoder.precision import Precision
from streamlabel.models.files.checkpoint import open_checkpoint
from streamlabel.models.tokens.rows import Forward, Rows

__all__ = ["KINDS", "profile"]

_BATCHES = 20

_OPERATORS: Mapping[str, str] = {
    "mkldnn::_linear_pointwise": "products, with GELU",
    "aten::addmm": "products, with GELU",
    "aten::_scaled_dot_product_flash_attention_for_cpu": "attention",
    "aten::native_layer_norm": "normalisation",
    "aten::index": "embeddings",
    "aten::add": "embeddings",
    "aten::add_": "sums and change of type",
    "aten::copy_": "sums and change of type",
    "aten::cat": "joining groups",
}
_REST = "rest"

KINDS: Sequence[str] = (*dict.fromkeys(_OPERATORS.values()), _REST)


def profile(model: Path, way: Precision, batch: Rows) -> dict[str, float]:
    """Return the fraction of time of each kind for ``batch`` on one thread, in [0, 1]."""
    settings = EncoderSettings(path=str(model), device="cpu")
    forward = load_packed(open_checkpoint(settings), choose_device("cpu"), way)
    with ThreadPoolExecutor(1) as thread:  # the number of OpenMP threads is set per thread
        return thread.submit(_profile, forward, batch).result()


def _profile(forward: Forward, batch: Rows) -> dict[str, float]:
    import torch
    from torch.profiler import ProfilerActivity

    torch.set_num_threads(1)
    forward.logits(batch)
    with torch.profiler.profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(_BATCHES):
            forward.logits(batch)
    spent = dict.fromkeys(KINDS, 0.0)
    for operator in seen.key_averages():
        spent[_OPERATORS.get(operator.key, _REST)] += operator.self_cpu_time_total
    whole = sum(spent.values())
    return {kind: time / whole for kind, time in spent.items()}
