"""Every encoder family in our engine over OpenVINO and ONNX Runtime, on this processor.

    python -m benchmarks.engines
    python -m benchmarks.engines --families roberta --precisions float32

The same models and texts as in ``benchmarks.architectures``; tokenising is left out for all. The
others get batches of rows sorted by length in a token budget; number of streams, budget and, for
ONNX Runtime, its fusions are the fastest of those tried on 80 of the rows. Each engine has its own
process, and rounds are interleaved. ONNX Runtime has no products in bfloat16 on x86: there it
computes in float32.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks import architectures, results_file
from benchmarks.engine_alone import batches
from benchmarks.engines.foreign import Foreign
from streamlabel.config.model import EncoderSettings
from streamlabel.models.core.classifier import Classifier, Prediction, PreparedText
from testing import encoder_families, texts

__all__ = ["figures_of"]

_OTHERS: Final = ("openvino", "onnxruntime")
_DTYPES: Final[Mapping[str, architectures.Dtype]] = {"float32": "float32", "bfloat16": "auto"}
_EQUAL: Final = 0.995  # share of equal labels, or the comparison says nothing

Row = dict[str, Any]


def figures_of(rows: Sequence[Row]) -> dict[str, float]:
    """Return the worst ratios over each engine, over families and precisions with equal labels."""
    found: dict[str, float] = {}
    for other in _OTHERS:
        compared = [row for row in rows if row["engine"] == other and row["equal"] >= _EQUAL]
        found |= {
            f"{row['family']}_{row['precision']}_over_{other}": statistics.median(row["ratios"])
            for row in compared
        }
        if compared:
            found[f"worst_over_{other}"] = min(statistics.median(row["ratios"]) for row in compared)
    if rows:
        found["least_equal_labels"] = min(row["equal"] for row in rows)
    return found


def page_of(rows: Sequence[Row]) -> str:
    """Return the table."""
    commands = dict.fromkeys(row["command"] for row in rows)
    lines = [
        "Our engine over others, the same rows, each engine with the fastest of its settings."
        " Later runs replace rows of earlier ones; the rows are from:",
        "",
        *(f"- `{command}`" for command in commands),
        "",
        "| precision | family | engine | texts/s | ours | ours over it | equal labels | setting |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in rows:
        names = ("theirs", "ours", "ratios")
        theirs, ours, ratio = (statistics.median(row[name]) for name in names)
        cells = (
            row["precision"], row["family"], row["engine"], f"{theirs:.0f}", f"{ours:.0f}",
            f"{ratio:.2f}", f"{row['equal']:.2%}", row["setting"],
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


async def _ours(classifier: Classifier, prepared: Sequence[PreparedText]) -> list[int]:
    """Return our label of each text, as the number of the most probable one."""
    found: dict[int, int] = {}
    for batch in batches(classifier, prepared):
        for text, answer in zip(batch.items, await classifier.classify(batch.items), strict=True):
            if not isinstance(answer, Prediction) or answer.probabilities is None:
                raise RuntimeError(f"no prediction: {answer}")
            best = max(answer.probabilities)
            found[id(text)] = answer.probabilities.index(best)
    return [found[id(text)] for text in prepared]


def _token_rows(folder: Path, mix: Sequence[str]) -> tuple[list[list[int]], int]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = tokenizer(list(mix), truncation=True, max_length=512)["input_ids"]
    return [list(row) for row in rows], int(tokenizer.pad_token_id)


async def _compare(
    family: str, folder: Path, precision: str, mix: Sequence[str], rounds: int
) -> list[Row]:
    """Return a row for each engine that can compute the model."""
    from streamlabel.models.encoder import classifier as encoder

    ids, pad = _token_rows(folder, mix)
    settings = EncoderSettings(path=str(folder), device="cpu", dtype=_DTYPES[precision])
    classifier = await asyncio.to_thread(encoder.load, settings)
    rows: list[Row] = []
    with ExitStack() as stack:
        prepared = [
            text for text in await classifier.prepare(mix) if isinstance(text, PreparedText)
        ]
        if [text.tokens for text in prepared] != [len(row) for row in ids]:
            raise SystemExit(f"{family}: the engines would get other rows than ours")
        labels = await _ours(classifier, prepared)  # warms up, too
        engines: dict[str, Foreign] = {}
        for kind in _OTHERS:
            engine = stack.enter_context(
                Foreign(kind, folder, precision=precision, rows=ids, pad=pad)
            )
            try:
                engine.load()
            except RuntimeError as error:
                sys.stderr.write(f"{family}, {kind}: {error}\n")
                continue
            engines[kind] = engine
            equal = sum(a == b for a, b in zip(labels, engine.labels, strict=True)) / len(labels)
            rows.append(
                {
                    "family": family, "precision": precision, "engine": kind, "equal": equal,
                    "setting": engine.setting, "computed": classifier.identity.dtype,
                    "tried": dict(engine.tried), "ours": [], "theirs": [], "ratios": [],
                    "date": datetime.now(UTC).date().isoformat(),
                }
            )  # fmt: skip
        for number in range(rounds):
            ours = await architectures.rate_of(classifier, prepared)
            for row in rows[:: -1 if number % 2 else 1]:
                theirs = len(ids) / engines[row["engine"]].seconds()
                row["ours"].append(ours)
                row["theirs"].append(theirs)
                row["ratios"].append(ours / theirs)
    await classifier.close()
    return rows


def _kept(rows: Sequence[Row]) -> list[Row]:
    """Return earlier rows of this processor, of models that were not measured now."""
    path = results_file.RESULTS / "architectures.json"
    earlier = json.loads(path.read_text())["parts"].get("engines") if path.exists() else None
    if earlier is None or earlier["cpu"] != results_file.hardware()["cpu"]:
        return []
    measured = {(row["family"], row["precision"]) for row in rows}
    return [row for row in earlier["runs"] if (row["family"], row["precision"]) not in measured]


def main() -> None:
    """Run it, and add the result to that of the architectures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    families = list(encoder_families.FAMILIES)
    parser.add_argument("--rounds", type=int, default=5)
    # the last batches keep one core waiting, which a backlog does not
    parser.add_argument("--texts", type=int, default=800)
    parser.add_argument("--families", nargs="+", choices=families, default=families)
    parser.add_argument("--precisions", nargs="+", choices=_DTYPES, default=list(_DTYPES))
    asked = parser.parse_args()
    mix = texts.thinned(texts.heavy_tailed_mix(), asked.texts)
    command = (
        f"python -m benchmarks.engines --rounds {asked.rounds} --texts {asked.texts}"
        f" --families {' '.join(asked.families)} --precisions {' '.join(asked.precisions)}"
    )
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        for family in asked.families:
            folder = encoder_families.save(family, Path(scratch) / family)
            for precision in asked.precisions:
                found = asyncio.run(_compare(family, folder, precision, mix, asked.rounds))
                rows += [row | {"command": command} for row in found]
                sys.stderr.write(page_of(rows[-len(found) :]) + "\n")
    rows = [*_kept(rows), *rows]
    architectures.store(
        "engines",
        command=command,
        figures=figures_of(rows),
        page=page_of(rows),
        runs=rows,
    )


if __name__ == "__main__":
    main()
