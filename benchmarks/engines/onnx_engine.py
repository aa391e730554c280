"""A model exported to ONNX and computed by ONNX Runtime, with its fusions for transformers."""

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.engines.loop import Batch, Logits, loaded

__all__ = ["OnnxRuntime", "exported", "fused"]

_NAMES = ("input_ids", "attention_mask")


def exported(folder: Path, out: Path) -> Path:
    """Write the model as ONNX; return the file."""
    import torch

    example = tuple(torch.ones(2, 8, dtype=torch.int64) for _ in _NAMES)
    # traced with plain attention, because the fusions know its operators
    axes = {name: {0: "rows", 1: "tokens"} for name in _NAMES}
    with torch.no_grad():
        torch.onnx.export(
            loaded(folder, "eager"),
            example,
            str(out),
            input_names=list(_NAMES),
            output_names=["logits"],
            dynamic_axes=axes | {"logits": {0: "rows"}},
            opset_version=17,
            dynamo=False,
        )
    return out


def fused(model: Path, out: Path, *, heads: int, hidden: int) -> Path:
    """Write the model with the fusions of ONNX Runtime's own optimiser; return the file."""
    from onnxruntime.transformers import optimizer

    made = optimizer.optimize_model(
        str(model), model_type="bert", num_heads=heads, hidden_size=hidden, opt_level=1
    )
    made.save_model_to_file(str(out))
    return out


class OnnxRuntime:
    """One session for each stream, each with its share of the threads.

    Args:
        model: the file.
        streams: batches that are computed at the same time.
        threads: of all streams together.
    """

    def __init__(self, model: Path, *, streams: int, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(1, threads // streams)
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self._sessions = [
            onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
            for _ in range(streams)
        ]
        self._pool = ThreadPoolExecutor(streams)

    def run(self, waiting: Sequence[Batch]) -> list[Logits]:
        """Return the logits of each batch."""
        found: dict[int, Logits] = {}
        numbers = itertools.count()  # each stream takes the next batch when it is free

        def stream(session: Any) -> None:  # noqa: ANN401 onnxruntime has no types
            while (number := next(numbers)) < len(waiting):
                ids, mask = waiting[number]
                given = {"input_ids": ids, "attention_mask": mask}
                found[number] = session.run(None, given)[0]

        for done in [self._pool.submit(stream, session) for session in self._sessions]:
            done.result()
        return [found[number] for number in range(len(waiting))]
