"""A foreign engine in a process of its own, which measures when it is asked to.

    python -m benchmarks.engines.child

It reads one JSON document a line and answers each with one: first what to load, then ``measure``.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.engines.loop import Batch, Engine, batches, in_order

_BUDGETS: Final = (128, 256, 512, 1024)
_STREAMS: Final = (1, 2)
_TRIED: Final = 3  # passes of a setting before one is chosen, the first of which warms up
_SAMPLE: Final = 80  # rows, spread over all, on which a setting is chosen


def _openvino(folder: Path, precision: str, scratch: Path) -> Mapping[str, Callable[[int], Engine]]:
    from benchmarks.engines.openvino_engine import OpenVino, converted

    model, threads = converted(folder), len(os.sched_getaffinity(0))
    return {
        "as converted": lambda streams: OpenVino(
            model, precision=precision, streams=streams, threads=threads
        )
    }


def _onnxruntime(
    folder: Path, precision: str, scratch: Path
) -> Mapping[str, Callable[[int], Engine]]:
    from benchmarks.engines.onnx_engine import exported, fused

    threads = len(os.sched_getaffinity(0))
    plain = exported(folder, scratch / "plain.onnx")
    files = {"as exported": plain}
    try:
        files["fused"] = fused(plain, scratch / "fused.onnx", heads=12, hidden=384)
    except Exception as error:  # noqa: BLE001 then the session's own fusions are what there is
        sys.stderr.write(f"no fusions for {folder.name}: {error}\n")
    return {name: partial(_session, file, threads=threads) for name, file in files.items()}


def _session(file: Path, streams: int, *, threads: int) -> Engine:
    from benchmarks.engines.onnx_engine import OnnxRuntime

    return OnnxRuntime(file, streams=streams, threads=threads)


_KINDS: Final = {"openvino": _openvino, "onnxruntime": _onnxruntime}


def _seconds(engine: Engine, waiting: Sequence[Batch]) -> float:
    began_s = time.perf_counter()
    engine.run(waiting)
    return time.perf_counter() - began_s


def _best(
    made: Mapping[str, Callable[[int], Engine]], rows: Sequence[Sequence[int]], pad: int
) -> tuple[Engine, Sequence[Batch], Sequence[int], dict[str, float]]:
    """Try all settings on a sample of the rows; return the fastest, and the seconds of each."""
    tried: dict[str, float] = {}
    best: tuple[float, Engine, int] | None = None
    for name, build in made.items():
        for streams in _STREAMS:
            engine = build(streams)
            for budget in _BUDGETS:
                some = rows[:: max(1, len(rows) // _SAMPLE)]
                sample, _ = batches(some, budget=budget, pad=pad)
                took_s = min(_seconds(engine, sample) for _ in range(_TRIED))
                tried[f"{name}, {streams} streams, {budget} tokens"] = took_s
                if best is None or took_s < best[0]:
                    best = took_s, engine, budget
    assert best is not None
    _, engine, budget = best
    return engine, *batches(rows, budget=budget, pad=pad), tried


def _say(document: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Load, then measure one pass over all rows for each line."""
    lines = iter(sys.stdin)
    asked = json.loads(next(lines))
    with tempfile.TemporaryDirectory() as scratch:
        made = _KINDS[asked["kind"]](Path(asked["folder"]), asked["precision"], Path(scratch))
        engine, waiting, order, tried = _best(made, asked["rows"], asked["pad"])
        labels = in_order(engine.run(waiting), order)
        _say({"labels": labels, "tried": tried, "setting": min(tried, key=tried.__getitem__)})
        for _ in lines:
            _say({"seconds": _seconds(engine, waiting)})


if __name__ == "__main__":
    main()
