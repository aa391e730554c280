"""In which type a device multiplies fastest: found out, because its instructions do not say it."""

import time
from functools import cache
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from torch import dtype

__all__ = ["ComputeType", "fastest_precision", "has_bfloat16", "has_small_products"]

ComputeType = Literal["float32", "bfloat16"]

# How much faster bfloat16 has to be. The processors that were measured are far from it on either
# side (Intel with AMX about 3, an AMD EPYC 2, Intel without AMX 0.6), so that two starts do not
# differ.
_GAIN: Final = 1.25
_ROWS: Final = 512
_SIZE: Final = 768
_TIMES: Final = 7


def has_bfloat16() -> bool:
    """Return whether the processor has instructions for products in bfloat16."""
    import torch

    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def has_small_products() -> bool:
    """Return whether the processor has a unit for small products in bfloat16.

    Without AMX torch's attention is slower in bfloat16 than in float32, although products of many
    rows are twice as fast (measured on an AMD EPYC).
    """
    import torch

    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


def fastest_precision(kind: str = "cpu") -> ComputeType:
    """Return the type in which this kind of device multiplies fastest, float32 if they are close.

    On a CPU both are timed, once per process (0.1 s): the processors of many virtual machines
    have AVX512-BF16 and not AMX, and are slower with it than in float32.
    """
    import torch

    if kind == "cuda":
        is_fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bfloat16" if is_fast else "float32"
    return _fastest_on_cpu() if kind == "cpu" else "bfloat16"


@cache
def _fastest_on_cpu() -> ComputeType:
    if not has_bfloat16():
        return "float32"
    import torch

    types = torch.float32, torch.bfloat16
    times_s: dict[dtype, list[float]] = {kind: [] for kind in types}
    with torch.inference_mode():
        for _ in range(_TIMES):  # in turns: what else runs slows both
            for kind in types:
                times_s[kind].append(_product_s(kind))
    # the fastest of each, without what interrupted the others; each has warmed up by then
    exact_s, half_s = (min(times_s[kind]) for kind in types)
    return "bfloat16" if exact_s > _GAIN * half_s else "float32"


def _product_s(kind: "dtype") -> float:
    """Return the seconds of one product of the size that a layer of an encoder has."""
    import torch

    x, weight = torch.ones(_ROWS, _SIZE, dtype=kind), torch.ones(_SIZE, _SIZE, dtype=kind)
    began_s = time.perf_counter()
    torch.nn.functional.linear(x, weight)
    return time.perf_counter() - began_s
