"""The speed of every encoder family over that of a BERT of the same size, on a CPU.

Models of MiniLM's size with random weights and MiniLM's tokenizer classify the heavy-tailed mix;
tokenising is left out, because it is the same for all. All models of a precision are loaded, and
rounds are interleaved: each round measures each family once, beginning with another one.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from benchmarks import results_file
from benchmarks.engine_alone import batches, compute
from streamlabel.config.model import EncoderSettings
from streamlabel.models.core.classifier import Classifier, PreparedText
from testing import encoder_families, texts

__all__ = ["Dtype", "measure", "rate_of", "store", "worst_ratios"]

Dtype = Literal["float32", "auto"]
# Families that compute the same as a BERT, up to a few additions.
_LIKE_BERT = ("roberta", "xlm_roberta", "distilbert", "electra", "mpnet")
_TEXTS = 600


def worst_ratios(rates: dict[str, dict[str, float]]) -> dict[str, float]:
    """Return the ratios that have targets.

    Args:
        rates: precision -> family -> texts/s; each precision has a BERT.
    """
    over = {
        (precision, family): rate / of_family["bert"]
        for precision, of_family in rates.items()
        for family, rate in of_family.items()
    }
    groups = {
        "worst_family_over_bert": _LIKE_BERT,
        "modernbert_over_bert": ("modernbert",),
        "deberta_over_bert": ("deberta",),
    }
    found = {
        name: [ratio for (_, family), ratio in over.items() if family in group]
        for name, group in groups.items()
    }
    return {name: min(ratios) for name, ratios in found.items() if ratios}


async def measure(
    folders: dict[str, Path], dtype: Dtype, mix: Sequence[str], rounds: int
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Return the rates of each family (texts/s), round by round, and how it computes."""
    from streamlabel.models.encoder import classifier as encoder

    classifiers: dict[str, Classifier] = {}
    ways: dict[str, str] = {}
    rates: dict[str, list[float]] = {family: [] for family in folders}
    waiting: dict[str, list[PreparedText]] = {}
    try:
        for family, folder in folders.items():
            settings = EncoderSettings(path=str(folder), device="cpu", dtype=dtype)
            loaded = await asyncio.to_thread(encoder.load, settings)
            classifiers[family] = loaded
            details = loaded.identity.details
            exact = details.get("exact_layers", "-")
            ways[family] = f"{details['forward']}, {loaded.identity.dtype}, {exact} exact layers"
            prepared = await loaded.prepare(mix)
            waiting[family] = [text for text in prepared if isinstance(text, PreparedText)]
            await rate_of(loaded, waiting[family][:64])  # the first calls compile kernels
        names = list(folders)
        for number in range(rounds):
            first = number % len(names)
            for family in names[first:] + names[:first]:
                rates[family].append(await rate_of(classifiers[family], waiting[family]))
    finally:
        for classifier in classifiers.values():
            await classifier.close()
    return rates, ways


async def rate_of(classifier: Classifier, prepared: Sequence[PreparedText]) -> float:
    """Return texts/s of one pass."""
    began_s = time.perf_counter()
    await compute(classifier, batches(classifier, prepared))
    return len(prepared) / (time.perf_counter() - began_s)


def main() -> None:
    """Run it and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=_TEXTS)
    parser.add_argument(
        "--families", nargs="+", choices=list(encoder_families.FAMILIES), metavar="FAMILY",
        default=list(encoder_families.FAMILIES),
    )  # fmt: skip
    wanted = parser.parse_args()
    mix = texts.thinned(texts.heavy_tailed_mix(), wanted.texts)
    rates: dict[str, dict[str, float]] = {}
    runs: dict[str, dict[str, list[float]]] = {}
    page = ["| precision | family | texts/s | over BERT | computed |"]
    page += ["| --- | --- | ---: | ---: | --- |"]
    precisions: dict[str, Dtype] = {"float32": "float32", "bfloat16": "auto"}
    with tempfile.TemporaryDirectory() as scratch:
        folders = {
            family: encoder_families.save(family, Path(scratch) / family)
            for family in dict.fromkeys(["bert", *wanted.families])
        }
        for precision, dtype in precisions.items():
            runs[precision], ways = asyncio.run(measure(folders, dtype, mix, wanted.rounds))
            medians = {family: statistics.median(run) for family, run in runs[precision].items()}
            rates[precision] = medians
            for family, rate in medians.items():
                over = f"{rate:.0f} | {rate / medians['bert']:.2f}"
                page.append(f"| {precision} | {family} | {over} | {ways[family]} |")
    figures = worst_ratios(rates) | {
        f"{family}_{precision}_texts_per_s": rate
        for precision, of_family in rates.items()
        for family, rate in of_family.items()
    }
    store(
        "families",
        command=f"python -m benchmarks.architectures --rounds {wanted.rounds}"
        f" --texts {wanted.texts} --families {' '.join(wanted.families)}",
        figures=figures,
        page="\n".join((f"Medians of {wanted.rounds} interleaved rounds:\n", *page, "")),
        runs=runs,
    )


def store(
    part: str, *, command: str, figures: Mapping[str, float], page: str, runs: object
) -> None:
    """Put one part of the result into the file; the other keeps what was measured before."""
    path = results_file.RESULTS / "architectures.json"
    parts: dict[str, Any] = json.loads(path.read_text())["parts"] if path.exists() else {}
    parts[part] = {
        "command": command,
        "date": datetime.now(UTC).date().isoformat(),
        "commit": results_file.commit(),
        "cpu": results_file.hardware()["cpu"],
        "figures": {name: results_file.rounded(value) for name, value in figures.items()},
        "page": page,
        "runs": runs,
    }
    pages = (
        f"## {name}\n\n`{each['command']}` on {each['date']}, commit {each['commit'][:10]},"
        f" {each['cpu']}.\n\n{each['page']}"
        for name, each in sorted(parts.items())
    )
    results_file.write(
        "architectures",
        command=command,
        figures={k: v for each in parts.values() for k, v in each["figures"].items()},
        page="Models of MiniLM's size with random weights.\n\n" + "\n".join(pages),
        details={"parts": parts},
    )


if __name__ == "__main__":
    main()
