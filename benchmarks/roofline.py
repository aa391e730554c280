"""The encoder's FLOP/s compared with the machine's rate of matrix products.

Useful FLOP/s count real tokens and necessary operations only: projections, feed-forward and
attention of every layer, and in the last layer only what its first token needs. The machine's rate
is the best that torch reaches with the model's own matrix products and with square ones, at the
same precision, on all cores. Rounds of both are interleaved. A profile shows where the rest of the
time is spent.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks import engine_profile, results_file
from streamlabel.config.model import EncoderSettings
from streamlabel.models.core.classifier import Classifier, PreparedText
from streamlabel.models.devices.device import available_cores
from streamlabel.models.encoder.matrix_products import Linear, Plain, laid_out
from streamlabel.models.encoder.precision import Precision as Way
from testing import minilm

Precision = Literal["float32", "bfloat16"]

_LENGTHS = (16, 64, 256)  # tokens of a row, special ones included
_BATCH_TOKENS = 1024
_ROUND_S = 2.0
_HIDDEN, _WIDE, _LAYERS = 384, 1536, 6  # MiniLM
_SHAPES = ((1024, 384, 1152), (1024, 384, 1536), (1024, 1536, 384), (1024, 1024, 1024))


def useful_flops(length: int) -> float:
    """Return the necessary floating-point operations for one row of ``length`` tokens."""
    token = 2 * _HIDDEN * (3 * _HIDDEN + _HIDDEN + 2 * _WIDE)  # projections, feed-forward
    attention = 4 * length * _HIDDEN  # of one token: scores and weighted values
    whole = length * (token + attention)
    # of the last layer: keys and values of all tokens, the rest of the first one
    last = length * 2 * _HIDDEN * 2 * _HIDDEN + token - 4 * _HIDDEN * _HIDDEN + attention
    return (_LAYERS - 1) * whole + last


def machine_flops(precision: Precision) -> float:
    """Return the best FLOP/s of matrix products.

    One product on all cores, or one on each; with the weight unchanged, or in oneDNN's layout.
    """
    import torch

    cores = available_cores()
    kind = getattr(torch, precision)

    def rate(
        shape: tuple[int, int, int], make: Callable[..., Linear], *, side_by_side: bool
    ) -> float:
        rows, inner, columns = shape
        threads = cores if side_by_side else 1

        def multiply(_: int) -> int:
            torch.set_num_threads(1 if side_by_side else cores)
            x = torch.randn(rows, inner, dtype=kind)
            product = make(torch.randn(columns, inner), torch.zeros(columns))
            count, began_s = 0, time.perf_counter()
            with torch.inference_mode():
                while time.perf_counter() - began_s < _ROUND_S / len(_SHAPES) / 2:
                    product(x)
                    count += 1
            return count

        with ThreadPoolExecutor(threads) as pool:
            began_s = time.perf_counter()
            products = sum(pool.map(multiply, range(threads)))
            return 2.0 * rows * inner * columns * products / (time.perf_counter() - began_s)

    def as_it_is(weight: torch.Tensor, bias: torch.Tensor) -> Linear:
        return Plain(weight.to(kind), bias.to(kind))

    return max(
        rate(shape, make, side_by_side=way)
        for shape in _SHAPES
        for make in (as_it_is, partial(laid_out, kind=kind))
        for way in (False, True)
    )


async def engine_flops(classifier: Classifier, length: int) -> float:
    """Return the encoder's useful FLOP/s on rows of ``length`` tokens, with a full queue."""
    per_batch = _BATCH_TOKENS // length
    rng = np.random.default_rng(1)
    batches = [list(_rows(rng, length, per_batch)) for _ in range(16)]
    done = 0
    began_s = time.perf_counter()

    async def stream(number: int) -> None:
        nonlocal done
        turn = number
        while time.perf_counter() - began_s < _ROUND_S:
            await classifier.classify(batches[turn % len(batches)])
            done += per_batch
            turn += 1

    await asyncio.gather(*(stream(number) for number in range(classifier.hints.max_in_flight)))
    return useful_flops(length) * done / (time.perf_counter() - began_s)


def _rows(rng: np.random.Generator, length: int, count: int) -> Iterator[PreparedText]:
    for ids in _ids(rng, length, count):
        yield PreparedText(tokens=length, payload=(ids.tobytes(),), rows=1, truncated=False)


def _ids(rng: np.random.Generator, length: int, count: int) -> NDArray[np.int32]:
    return rng.integers(1000, 20_000, size=(count, length), dtype=np.int32)


async def measure(
    model: Path, precision: Precision, rounds: int
) -> tuple[list[float], dict[int, list[float]]]:
    """Return the machine's rates and, per length, the engine's, round by round."""
    from streamlabel.models.encoder import classifier as encoder

    # For this model ``auto`` chooses bfloat16 for all layers.
    dtype: Literal["float32", "auto"] = "float32" if precision == "float32" else "auto"
    settings = EncoderSettings(path=str(model), device="cpu", dtype=dtype)
    classifier = await asyncio.to_thread(encoder.load, settings)
    if (classifier.identity.dtype, classifier.identity.details["exact_layers"]) != (precision, "0"):
        raise SystemExit(f"this machine does not compute the whole model in {precision}")
    machine: list[float] = []
    engine: dict[int, list[float]] = {length: [] for length in _LENGTHS}
    try:
        for length in _LENGTHS:
            await engine_flops(classifier, length)  # the first call compiles kernels
        for _ in range(rounds):
            machine.append(await asyncio.to_thread(machine_flops, precision))
            for length in _LENGTHS:
                engine[length].append(await engine_flops(classifier, length))
    finally:
        await classifier.close()
    return machine, engine


def _profiled(model: Path, precision: Precision, length: int) -> dict[str, float]:
    batch = list(_ids(np.random.default_rng(1), length, _BATCH_TOKENS // length))
    return engine_profile.profile(model, Way(precision), batch)


def main() -> None:
    """Run it and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    figures: dict[str, float] = {}
    runs: dict[str, Any] = {}
    speed = ["| precision | tokens a row | useful GFLOP/s | machine | share |"]
    speed += ["| --- | ---: | ---: | ---: | ---: |"]
    spent = ["| precision | tokens a row | " + " | ".join(engine_profile.KINDS) + " |"]
    spent += ["| --- |" + " ---: |" * (1 + len(engine_profile.KINDS))]
    precisions: Sequence[Precision] = ("float32", "bfloat16")
    with tempfile.TemporaryDirectory() as scratch:
        model = minilm.save(Path(scratch) / "minilm")
        for precision in precisions:
            machine, engine = asyncio.run(measure(model, precision, rounds))
            peak = statistics.median(machine)
            profiles = {length: _profiled(model, precision, length) for length in engine}
            runs[precision] = {"machine": machine, "engine": engine, "profile": profiles}
            for length, rates in engine.items():
                rate = statistics.median(rates)
                figures[f"{precision}_{length}_share"] = rate / peak
                cells = f"{rate / 1e9:.0f} | {peak / 1e9:.0f} | {rate / peak:.2f}"
                speed.append(f"| {precision} | {length} | {cells} |")
                shares = " | ".join(f"{share:.1%}" for share in profiles[length].values())
                spent.append(f"| {precision} | {length} | {shares} |")
    figures["useful_share"] = min(value for name, value in figures.items() if "float32" in name)
    results_file.write(
        "roofline",
        command=f"python -m benchmarks.roofline --rounds {rounds}",
        figures=figures,
        page="\n".join(
            (
                f"MiniLM on the CPU, medians of {rounds} interleaved rounds.\n",
                *speed,
                "\nTime by kind of operator (torch's profiler, one thread, the other core idle):\n",
                *spent,
                "",
            )
        ),
        details={"runs": runs},
    )


if __name__ == "__main__":
    main()
