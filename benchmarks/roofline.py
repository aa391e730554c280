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
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks import engine_profile, results_file
from streamlabel.config.model import EncoderSettings
from streamlabel.models.core.classifier import Classifier, PreparedText
from streamlabel.models.devices.device import available_cores
from streamlabel.models.encoder.matrix_products import Linear, Plain, laid_out
from streamlabel.models.encoder.precision import Precision as Way
from testing import encoder_families, minilm

Precision = Literal["float32", "bfloat16"]

_LENGTHS = (16, 64, 256)  # tokens of a row, special ones included
_BATCH_TOKENS = 1024
_ROUND_S = 2.0


@dataclass(frozen=True, slots=True)
class Shape:
    """What determines how many operations a row needs.

    Attributes:
        hidden: numbers of a token.
        wide: numbers between the two products of a feed-forward layer of two.
        layers: of them.
        by_distance: products of a query or key with a distance, for each query and key.
        window: tokens that a local layer attends to; None: there are no local layers.
    """

    hidden: int = 384
    wide: int = 1536
    layers: int = 6
    by_distance: int = 0
    window: int | None = None


MINILM: Final = Shape()
_BASE: Final = Shape(hidden=768, wide=3072, layers=12)
# Of the size of MiniLM; ModernBERT's layer of three products is narrower. Every third is global.
SHAPES: Final[Mapping[str, Shape]] = {
    "minilm": MINILM,
    "roberta": MINILM,
    "xlm_roberta": MINILM,
    "distilbert": MINILM,
    "electra": MINILM,
    "mpnet": MINILM,
    "modernbert": Shape(window=128),
    "deberta": Shape(by_distance=2),
    "bert_base": _BASE,
}
_IN_BFLOAT16: Final = ("minilm", "bert_base")


def useful_flops(length: int, shape: Shape = MINILM) -> float:
    """Return the necessary floating-point operations for one row of ``length`` tokens."""
    hidden = shape.hidden
    token = 2 * hidden * (3 * hidden + hidden + 2 * shape.wide)  # projections, feed-forward
    # of a query and a key: their product and the value's weight, and those with their distance
    pair = (4 + 2 * shape.by_distance) * hidden
    reach = length if shape.window is None else shape.window // 2
    near = _near(length, reach)
    whole = sum(
        length * (token + pair * (length if number % 3 == 0 else near))
        for number in range(shape.layers - 1)
    )
    # of the last layer: keys and values of all tokens, the rest of the first one
    last = length * 2 * hidden * 2 * hidden + token - 4 * hidden * hidden
    first_sees = length if (shape.layers - 1) % 3 == 0 else min(length, reach + 1)
    return whole + last + pair * first_sees


def _near(length: int, reach: int) -> float:
    """Return the mean number of tokens of a row that are at most ``reach`` from one of them."""
    return sum(min(i, reach) + min(length - 1 - i, reach) + 1 for i in range(length)) / length


def machine_flops(precision: Precision, shape: Shape) -> float:
    """Return the best FLOP/s of matrix products: those of a model, and of square matrices.

    One product on all cores, or one on each; with the weight unchanged, or in oneDNN's layout.
    """
    import torch

    cores = available_cores()
    kind = getattr(torch, precision)
    hidden, wide = shape.hidden, shape.wide
    sizes = ((hidden, 3 * hidden), (hidden, wide), (wide, hidden), (1024, 1024))

    def rate(size: tuple[int, int], make: Callable[..., Linear], *, side_by_side: bool) -> float:
        rows, (inner, columns) = 1024, size
        threads = cores if side_by_side else 1

        def multiply(_: int) -> int:
            torch.set_num_threads(1 if side_by_side else cores)
            x = torch.randn(rows, inner, dtype=kind)
            product = make(torch.randn(columns, inner), torch.zeros(columns))
            count, began_s = 0, time.perf_counter()
            with torch.inference_mode():
                while time.perf_counter() - began_s < _ROUND_S / len(sizes) / 2:
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
        rate(size, make, side_by_side=way)
        for size in sizes
        for make in (as_it_is, partial(laid_out, kind=kind))
        for way in (False, True)
    )


async def engine_flops(classifier: Classifier, length: int, shape: Shape) -> float:
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
    return useful_flops(length, shape) * done / (time.perf_counter() - began_s)


def _rows(rng: np.random.Generator, length: int, count: int) -> Iterator[PreparedText]:
    for ids in _ids(rng, length, count):
        yield PreparedText(tokens=length, payload=(ids.tobytes(),), rows=1, truncated=False)


def _ids(rng: np.random.Generator, length: int, count: int) -> NDArray[np.int32]:
    return rng.integers(1000, 20_000, size=(count, length), dtype=np.int32)


def save(name: str, folder: Path) -> Path:
    """Write a model of ``SHAPES``; return its folder."""
    if name == "minilm":
        return minilm.save(folder)
    if name == "bert_base":
        sizes = {"hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 3072}
        return encoder_families.save("bert", folder, larger=sizes)
    return encoder_families.save(name, folder)


def _load(folder: Path, precision: Precision) -> Classifier:
    from streamlabel.models.encoder import classifier as encoder

    # For these models ``auto`` chooses bfloat16 for all layers.
    dtype: Literal["float32", "auto"] = "float32" if precision == "float32" else "auto"
    loaded = encoder.load(EncoderSettings(path=str(folder), device="cpu", dtype=dtype))
    about = loaded.identity
    if (about.dtype, about.details.get("exact_layers")) != (precision, "0"):
        raise SystemExit(f"this machine does not compute all of {folder.name} in {precision}")
    return loaded


async def measure(
    models: Mapping[str, Path], precision: Precision, rounds: int
) -> tuple[dict[str, list[float]], dict[tuple[str, int], list[float]]]:
    """Return the machine's rates by model and the engine's by model and length, by round."""
    loaded: dict[str, Classifier] = {}
    machine: dict[str, list[float]] = {name: [] for name in models}
    engine: dict[tuple[str, int], list[float]] = {
        (name, length): [] for name in models for length in _LENGTHS
    }
    try:
        for name, folder in models.items():
            classifier = loaded[name] = await asyncio.to_thread(_load, folder, precision)
            for length in _LENGTHS:
                await engine_flops(classifier, length, SHAPES[name])  # compiles kernels
        for _ in range(rounds):
            rates: dict[Shape, float] = {}
            for name, classifier in loaded.items():
                shape = SHAPES[name]
                sizes = Shape(shape.hidden, shape.wide)
                if sizes not in rates:
                    rates[sizes] = await asyncio.to_thread(machine_flops, precision, sizes)
                machine[name].append(rates[sizes])
                for length in _LENGTHS:
                    engine[name, length].append(await engine_flops(classifier, length, shape))
    finally:
        for classifier in loaded.values():
            await classifier.close()
    return machine, engine


def _profiled(model: Path, precision: Precision, length: int) -> dict[str, float]:
    batch = list(_ids(np.random.default_rng(1), length, _BATCH_TOKENS // length))
    return engine_profile.profile(model, Way(precision), batch)


def figures_of(shares: Mapping[tuple[str, str, int], float]) -> dict[str, float]:
    """Return the figures of shares by model, precision and length."""
    figures: dict[str, float] = {}
    for (name, precision, length), share in shares.items():
        beginning = "" if name == "minilm" else f"{name}_"
        figures[f"{beginning}{precision}_{length}_share"] = share
    least: Mapping[str, Callable[[str, str], bool]] = {
        "useful_share": lambda name, kind: name == "minilm" and kind == "float32",
        "worst_useful_share": lambda name, kind: name != "deberta" and kind == "float32",
        "deberta_useful_share": lambda name, kind: name == "deberta" and kind == "float32",
        "bfloat16_useful_share": lambda _, kind: kind == "bfloat16",
    }
    for figure, counts in least.items():
        counted = [share for (name, kind, _), share in shares.items() if counts(name, kind)]
        if counted:
            figures[figure] = min(counted)
    return figures


def main() -> None:
    """Run it and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    shares: dict[tuple[str, str, int], float] = {}
    runs: dict[str, Any] = {}
    speed = ["| model | precision | tokens a row | useful GFLOP/s | machine | share |"]
    speed += ["| --- | --- | ---: | ---: | ---: | ---: |"]
    spent = ["| precision | tokens a row | " + " | ".join(engine_profile.KINDS) + " |"]
    spent += ["| --- |" + " ---: |" * (1 + len(engine_profile.KINDS))]
    precisions: Mapping[Precision, Sequence[str]] = {
        "float32": list(SHAPES),
        "bfloat16": _IN_BFLOAT16,
    }
    with tempfile.TemporaryDirectory() as scratch:
        folders = {name: save(name, Path(scratch) / name) for name in SHAPES}
        for precision, names in precisions.items():
            models = {name: folders[name] for name in names}
            machine, engine = asyncio.run(measure(models, precision, rounds))
            profiles = {n: _profiled(folders["minilm"], precision, n) for n in _LENGTHS}
            runs[precision] = {
                "machine": machine,
                "engine": {f"{name}, {length}": rates for (name, length), rates in engine.items()},
                "profile": profiles,
            }
            for (name, length), rates in engine.items():
                of_round = [one / other for one, other in zip(rates, machine[name], strict=True)]
                share = shares[name, precision, length] = statistics.median(of_round)
                ours, peak = (statistics.median(each) / 1e9 for each in (rates, machine[name]))
                speed.append(
                    f"| {name} | {precision} | {length} | {ours:.0f} | {peak:.0f} | {share:.2f} |"
                )
            for length, profile in profiles.items():
                cells = " | ".join(f"{share:.1%}" for share in profile.values())
                spent.append(f"| {precision} | {length} | {cells} |")
    results_file.write(
        "roofline",
        command=f"python -m benchmarks.roofline --rounds {rounds}",
        figures=figures_of(shares),
        page="\n".join(
            (
                "MiniLM, encoders of its size, and BERT-base (all but MiniLM with random weights)"
                f" on the CPU, medians of {rounds} interleaved rounds.\n",
                *speed,
                "\nMiniLM's time by kind of operator (torch's profiler, one thread, the other core"
                " idle):\n",
                *spent,
                "",
            )
        ),
        details={"runs": runs},
    )


if __name__ == "__main__":
    main()
