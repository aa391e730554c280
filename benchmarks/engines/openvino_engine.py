"""A model compiled by OpenVINO."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.engines.loop import Batch, Logits, loaded

__all__ = ["OpenVino", "converted"]


def converted(folder: Path) -> Any:  # noqa: ANN401 OpenVINO's
    """Return the model in OpenVINO's form, with the attention that it can trace."""
    import openvino
    import torch

    example = {
        "input_ids": torch.ones(2, 8, dtype=torch.int64),
        "attention_mask": torch.ones(2, 8, dtype=torch.int64),
    }
    problem: Exception | None = None
    for attention in ("sdpa", "eager"):
        try:
            with torch.inference_mode(mode=False), torch.no_grad():
                return openvino.convert_model(loaded(folder, attention), example_input=example)
        except Exception as error:  # noqa: BLE001 whatever it is, the other is tried
            problem = error
    raise RuntimeError(f"OpenVINO cannot convert {folder.name}: {problem}")


class OpenVino:
    """Requests that wait for the streams of one compiled model.

    Args:
        model: converted.
        precision: ``float32`` or ``bfloat16``.
        streams: batches that are computed at the same time.
        threads: of all streams together.
    """

    def __init__(self, model: Any, *, precision: str, streams: int, threads: int) -> None:  # noqa: ANN401 OpenVINO's
        import openvino

        compiled = openvino.Core().compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
                "NUM_STREAMS": str(streams),
                "INFERENCE_NUM_THREADS": threads,
            },
        )
        self._queue = openvino.AsyncInferQueue(compiled, streams)
        self._queue.set_callback(self._keep)
        self._found: dict[int, Logits] = {}

    def _keep(self, request: Any, number: int) -> None:  # noqa: ANN401 OpenVINO's
        self._found[number] = np.array(request.get_output_tensor(0).data, dtype=np.float32)

    def run(self, waiting: Sequence[Batch]) -> list[Logits]:
        """Return the logits of each batch."""
        self._found = {}
        for number, (ids, mask) in enumerate(waiting):
            self._queue.start_async({"input_ids": ids, "attention_mask": mask}, number)
        self._queue.wait_all()
        return [self._found[number] for number in range(len(waiting))]
