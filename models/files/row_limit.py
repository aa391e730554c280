"""The maximum length of a model: read from its table of positions, and tried with one row."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import structlog

from streamlabel.errors import ConfigError, DeviceMemoryError, InferenceError, ModelLoadError
from streamlabel.models.devices.device import Device, device_errors
from streamlabel.models.tokens.rows import Rows

__all__ = ["probe_row", "table_limit", "try_row"]

logger = structlog.get_logger(__name__)

# Tokens between the special tokens of the observed row; few, because the table may be short.
_WATCHED_TOKENS: Final = 4
# Maximum multiplications for a row that is tried at start on a CPU: one or two seconds on two
# cores.
_CHEAP_PRODUCTS: Final = 3e11
_BYTES_OF_A_WEIGHT: Final = 4


def probe_row(before: Sequence[int], after: Sequence[int], *, token: int, length: int) -> Rows:
    """Return one row of equal tokens between special tokens, at least ``length`` tokens long."""
    count = max(1, length - len(before) - len(after))
    return [np.array((*before, *[token] * count, *after), dtype=np.int32)]


def table_limit(
    compute: Callable[[Rows], object], before: Sequence[int], after: Sequence[int], *, token: int
) -> int | None:
    """Return the longest row that the model's table of positions has entries for.

    Observes which entries of which embedding tables the model reads for one short row: the table of
    positions is the one with consecutive entries, and the first of them shows where the model
    starts to count (RoBERTa, MPNet and others start after the padding token's entry). This works
    for every architecture, independent of the name in its configuration.

    Args:
        compute: runs the model on rows in this thread.
        before: special tokens in front of a text.
        after: special tokens behind a text.
        token: any other token.

    Returns:
        The limit in tokens, special ones included; None if the model has no such table (rotary,
        relative or computed positions).
    """
    # Not TorchDispatchMode: its first use imports modules for a second.
    from torch.overrides import TorchFunctionMode

    limits: list[int] = []
    rows = probe_row(before, after, token=token, length=len(before) + len(after) + _WATCHED_TOKENS)
    length = len(rows[0])

    class Watched(TorchFunctionMode):
        def __torch_function__(self, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401 untyped library
            table, indexes = _look_up(func, args)
            first = None if indexes is None else _first_position(indexes, length)
            if first is not None and table.shape[0] > first + length:
                limits.append(int(table.shape[0]) - first)
            return func(*args, **(kwargs or {}))

    with Watched():
        compute(rows)
    return min(limits, default=None)


def try_row(
    compute: Callable[[Rows], object], row: Rows, *, device: Device, weight_bytes: int
) -> None:
    """Run one row of the maximum length, unless that takes too long on a CPU.

    In that case the length of the table is used, which is exact; a model without a table has no
    hard limit.

    Args:
        compute: runs the model on rows.
        row: one row of the maximum length.
        device: where it computes.
        weight_bytes: size of the model.

    Raises:
        ModelLoadError: the model fails on it.
        ConfigError: it does not fit in the device's memory.
    """
    length = len(row[0])
    products = length * weight_bytes / _BYTES_OF_A_WEIGHT
    if device.kind == "cpu" and products > _CHEAP_PRODUCTS:
        logger.info("longest_row_not_tried", tokens=length, why="too slow on this CPU")
        return
    try:
        with device_errors(device):
            compute(row)
    except InferenceError as error:
        raise ModelLoadError(
            f"model.max_tokens: the model fails on a row of {length} tokens ({error}); set a lower"
            " limit"
        ) from error
    except DeviceMemoryError as error:
        raise ConfigError(
            f"model.max_tokens: one row of {length} tokens does not fit in the memory of"
            f" {device.name} beside the model; lower it, or set a narrower model.dtype"
        ) from error


def _look_up(func: Any, args: Any) -> tuple[Any, Any]:  # noqa: ANN401 untyped library
    """Return table and indexes of an embedding look-up; they include offsets (BART, OPT)."""
    import torch

    if func is torch.nn.functional.embedding:
        return args[1], args[0]
    if func is torch.Tensor.__getitem__:  # a plain tensor: our own BERT, CTRL
        index = args[1][0] if isinstance(args[1], tuple) and args[1] else args[1]
        return (args[0], index) if isinstance(index, torch.Tensor) else (None, None)
    if func in {torch.embedding, torch.Tensor.index_select, torch.index_select}:
        at = 1 if func is torch.embedding else 2
        return args[0], args[at] if len(args) > at else None
    return None, None


def _first_position(indexes: Any, length: int) -> int | None:  # noqa: ANN401 a tensor
    """Return the first index if the look-up begins with ``length`` consecutive indexes."""
    if indexes.dtype.is_floating_point or indexes.dtype.itemsize == 1:  # also masks
        return None
    if indexes.numel() < length:
        return None
    numbers = indexes.reshape(-1)[:length].tolist()
    is_counted = all(number == numbers[0] + i for i, number in enumerate(numbers))
    return int(numbers[0]) if is_counted else None
