"""Why an engine did not start: the setting to change, and the figure that would fit. Pure.

vLLM's exception only says that a process failed; the reason is in what the process wrote to
standard error, or in the signal that ended it.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = ["Start", "explain"]

_GIB: Final = 2**30
_LONGEST: Final = 300  # characters of a foreign message

_NUMBER: Final = r"([\d.]+)"
_OUT_OF_MEMORY: Final = re.compile(
    r"out of memory|can't allocate memory|Cannot allocate memory|OutOfMemoryError", re.IGNORECASE
)
_KILLED: Final = re.compile(r"Failed core proc\(s\): \{[^}]*: -9\b")
_ERROR: Final = re.compile(
    r"\b((?:[A-Za-z_]+\.)*[A-Za-z_]*(?:Error|Exception)): (.+?)(?= \([A-Z]\w+ pid=|$)"
)


@dataclass(frozen=True, slots=True)
class Start:
    """What an engine was started with.

    Attributes:
        weights_bytes: of the model's files.
        kv_cache_bytes: of its KV cache; None: what is left of the device's memory.
        free_bytes: memory of the machine that was available before; None: unknown.
        extra_tokens: tokens of a row behind the prompt.
    """

    weights_bytes: int
    kv_cache_bytes: int | None
    free_bytes: int | None = None
    extra_tokens: int = 1


def explain(raised: str, written: str, start: Start) -> str:
    """Return a sentence that begins with the setting to change.

    Args:
        raised: message of vLLM's exception.
        written: what the engine's processes wrote to standard error.
        start: what it was started with.
    """
    said = re.sub(r"\(\w+ pid=\d+\)", "", f"{written}\n{raised}")
    said = " ".join(said.split())
    for pattern, tell in _REASONS:
        found = re.search(pattern, said)
        if found:
            return tell(found, start)
    if _KILLED.search(said):
        return (
            "model.kv_cache_gib: the kernel killed the engine, as it does when memory runs out; "
            + _memory(start)
        )
    if _OUT_OF_MEMORY.search(said):
        return "model.kv_cache_gib: memory ran out while the engine started; " + _memory(start)
    reasons = [f"{name}: {text}" for name, text in _errors(written)]
    return f"model.path: vLLM cannot start it: {(reasons or [raised.strip()])[-1][:_LONGEST]}"


def _kv_needed(found: "re.Match[str]", start: Start) -> str:
    needed, available, longest = found.groups()
    shorter = (
        f", or model.max_tokens to at most {int(longest) - start.extra_tokens}" if longest else ""
    )
    if start.kv_cache_bytes is None:
        more = "raise model.gpu_memory_utilization"
    else:
        more = f"set model.kv_cache_gib to at least {_up(float(needed))}"
    return (
        f"model.max_tokens: the longest prompt takes {needed} GiB of KV cache, and {available} GiB"
        f" are available; {more}{shorter}"
    )


def _kv_too_large(found: "re.Match[str]", start: Start) -> str:
    available, _, requested = found.groups()
    fits = _down(float(available))
    remedy = f"lower it to at most {fits}" if fits > 0 else "use a machine with more memory"
    return (
        f"model.kv_cache_gib: {requested} GiB are asked for, and {available} GiB of memory are left"
        f" beside the weights ({start.weights_bytes / _GIB:.1f} GiB of files); {remedy}"
    )


def _device_taken(found: "re.Match[str]", _: Start) -> str:
    free, total, asked = found.groups()
    fits = math.floor(100 * float(free) / float(total)) / 100
    return (
        f"model.gpu_memory_utilization: {asked} of the device is asked for, and {free} of {total}"
        f" GiB are free; lower it to at most {fits:.2f}, or end what else uses the device"
    )


def _no_blocks(_: "re.Match[str]", start: Start) -> str:
    return (
        "model.gpu_memory_utilization: the weights"
        f" ({start.weights_bytes / _GIB:.1f} GiB of files) leave no memory for the KV cache; raise"
        " it, split the model with model.tensor_parallel, or choose a smaller model"
    )


def _memory(start: Start) -> str:
    """Return what is needed, what there is, and what would fit."""
    weights = start.weights_bytes / _GIB
    cache = (start.kv_cache_bytes or 0) / _GIB
    needs = f"weights {weights:.1f} GiB and KV cache {cache:.1f} GiB"
    if start.free_bytes is None:
        return f"it needs {needs}; lower model.kv_cache_gib, or choose a smaller model"
    free = start.free_bytes / _GIB
    # a tenth of the weights again: activations and the libraries themselves, which take about 1 GiB
    fits = _down(free - 1.1 * weights - 1)
    remedy = (
        f"set model.kv_cache_gib to at most {fits}"
        if 0 < fits < cache
        else "choose a smaller model, or a machine with more memory"
    )
    return f"it needs {needs}, and {free:.1f} GiB were available; {remedy}"


_REASONS: Final[tuple[tuple[str, Callable[["re.Match[str]", Start], str]], ...]] = (
    (
        rf"\({_NUMBER} GiB KV cache is needed.*?available KV cache memory \({_NUMBER} GiB\)"
        r"(?:.{0,40}estimated maximum model length is (\d+))?",
        _kv_needed,
    ),
    (
        rf"Available memory on node \d+ \({_NUMBER}/{_NUMBER} GiB\) on kv cache allocation is less"
        rf" than requested memory for kv \({_NUMBER}",
        _kv_too_large,
    ),
    (
        rf"Free memory on device \S+ \({_NUMBER}/{_NUMBER} GiB\) on startup is less than desired"
        rf" GPU memory utilization \({_NUMBER}",
        _device_taken,
    ),
    (r"No available memory for the cache blocks", _no_blocks),
)


def _errors(written: str) -> list[tuple[str, str]]:
    """Return the exceptions in what was written, in order; those of our own start are no reason."""
    lines = [re.sub(r"^.*?\(\w+ pid=\d+\)", "", line).strip() for line in written.splitlines()]
    found = [match.groups() for line in lines if (match := _ERROR.match(line))]
    return [(name, text) for name, text in found if "Engine core initialization" not in text]


def _up(gib: float) -> float:
    return math.ceil(10 * gib) / 10


def _down(gib: float) -> float:
    return max(0.0, math.floor(9 * gib) / 10)  # a tenth less: allocations are not exact
