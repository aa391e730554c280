"""Encoders and a language model on one CUDA device, in one command of at most nine minutes.

    python -m benchmarks.gpu

For each model, in bfloat16: the rate of useful operations at 128 tokens a row, over the device's
measured rate of matrix products; the same rows of mixed lengths padded by plain transformers; and
texts through the service's pipeline, read from memory, over the engine alone. For a language model,
one-token answers over a plain loop of ``generate``. Models have the sizes
of the named ones and random weights, texts are random words: neither network nor data is needed.
``scripts/gpu-bundle`` makes a folder for a machine that has only torch and transformers.

Results are stored with the name of the device. Without a device tiny models run on the CPU, in
float32, so that this program keeps working; nothing is stored then.
"""

import argparse
import asyncio
import json
import logging
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import structlog

from benchmarks import results_file
from benchmarks.gpu_llm import QWEN, measure_llm, queued_rate
from streamlabel.config.model import EncoderSettings
from streamlabel.config.settings import Settings
from streamlabel.models.core.classifier import Classifier, PreparedText
from streamlabel.models.core.system_clock import SystemClock

__all__ = ["MODELS", "TINY", "Shape", "main", "random_rows", "save", "useful_flops"]

_LIMIT_S: Final = 9 * 60
_LLM: Final = "llm"
_LENGTH: Final = 128  # tokens of a row
_ROWS: Final = 4096  # of mixed lengths
_SERVICE_S: Final = 4.0  # the least in which the pipeline has its batches and a rate between them
_PADDED_ROWS: Final = 128  # of a batch of plain transformers
_SQUARES: Final = (4096, 8192)  # of the machine's rate

Dtype = Literal["bfloat16", "float32"]


@dataclass(frozen=True, slots=True)
class Shape:
    """A model's architecture in transformers, and its sizes."""

    kind: str
    hidden: int
    layers: int
    heads: int
    inner: int
    vocabulary: int = 30522


MODELS: Final[Mapping[str, Shape]] = {
    "minilm": Shape("Bert", 384, 6, 12, 1536),
    "bert_base": Shape("Bert", 768, 12, 12, 3072),
    "xlm_r_base": Shape("XLMRoberta", 768, 12, 12, 3072, 250_002),
}
TINY: Final[Mapping[str, Shape]] = {
    "tiny_bert": Shape("Bert", 32, 2, 2, 64, 300),
    "tiny_xlm_r": Shape("XLMRoberta", 32, 2, 2, 64, 300),
}


def useful_flops(shape: Shape, length: int) -> float:
    """Return the necessary floating-point operations of one row of ``length`` tokens."""
    token = 2 * shape.hidden * (4 * shape.hidden + 2 * shape.inner)
    attention = 4 * length * shape.hidden
    # of the last layer: keys and values of all tokens, the rest of the first one
    last = length * 4 * shape.hidden * shape.hidden + token - 4 * shape.hidden**2 + attention
    return (shape.layers - 1) * length * (token + attention) + last


def save(shape: Shape, folder: Path) -> Path:
    """Write a model with random weights and a tokenizer of made-up words; return the folder."""
    import tokenizers
    import torch
    import transformers

    folder.mkdir()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    words = [*special, *(f"w{number}" for number in range(min(shape.vocabulary, 30_000) - 4))]
    vocabulary = {word: number for number, word in enumerate(words)}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))  # noqa: S106 a token
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>", pair=None, special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>",  # noqa: S106
        pad_token="<pad>", model_max_length=512, model_input_names=["input_ids", "attention_mask"],  # noqa: S106
    ).save_pretrained(folder)  # fmt: skip
    config = getattr(transformers, f"{shape.kind}Config")(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.inner,
        max_position_embeddings=514,
        pad_token_id=1,
        id2label=dict(enumerate("abcd")),
        label2id={label: number for number, label in enumerate("abcd")},
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{shape.kind}ForSequenceClassification")(config)
    model.save_pretrained(folder)
    return folder


def random_rows(count: int, *, vocabulary: int, length: int | None = None) -> list[Any]:
    """Return rows of random words; without a length, of heavy-tailed lengths of up to 512."""
    rng = np.random.default_rng(1)
    lengths = (
        np.full(count, length)
        if length
        else np.clip(rng.lognormal(3.4, 0.75, count), 4, 512).astype(int)
    )
    usable = min(vocabulary, 30_000)
    return [rng.integers(4, usable, each, dtype=np.int32) for each in lengths]


def _synchronised(device: str) -> None:
    import torch

    if device != "cpu":
        torch.cuda.synchronize()


def machine_flops(device: str, dtype: Dtype, *, seconds: float, squares: Sequence[int]) -> float:
    """Return the best FLOP/s of square matrix products on the device."""
    import torch

    best = 0.0
    for size in squares:
        x, y = (torch.randn(size, size, device=device).to(getattr(torch, dtype)) for _ in range(2))
        torch.mm(x, y)
        _synchronised(device)
        began_s, count = time.perf_counter(), 0
        while (spent_s := time.perf_counter() - began_s) < seconds / len(squares):
            for _ in range(10):
                torch.mm(x, y)
            _synchronised(device)
            count += 10
        best = max(best, 2.0 * size**3 * count / spent_s)
    return best


async def engine_rate(classifier: Classifier, rows: Sequence[Any], *, seconds: float) -> float:
    """Return rows/s of the engine, in batches of its token budget, with a full queue."""
    prepared = [
        PreparedText(tokens=len(ids), payload=(ids.tobytes(),), rows=1, truncated=False)
        for ids in rows
    ]
    return await queued_rate(classifier, prepared, seconds=seconds)


def padded_rate(
    folder: Path, rows: Sequence[Any], *, device: str, dtype: Dtype, seconds: float
) -> float:
    """Return rows/s of plain transformers, in batches in their order, padded to the longest."""
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=getattr(torch, dtype))
    model = model.to(device).eval()
    done, first = 0, 0
    with torch.inference_mode():
        began_s = 0.0
        while not began_s or time.perf_counter() - began_s < seconds:
            part = rows[first : first + _PADDED_ROWS]
            first = (first + _PADDED_ROWS) % len(rows)
            tensors = [torch.from_numpy(ids.astype(np.int64)) for ids in part]
            ids = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=1)
            mask = (ids != 1).long().to(device)
            model(input_ids=ids.to(device), attention_mask=mask).logits.float().cpu()
            if began_s:
                done += len(part)
            else:
                began_s = time.perf_counter()  # the first batch warms up
    return done / (time.perf_counter() - began_s)


async def service_rate(
    folder: Path, rows: Sequence[Any], *, device: str, dtype: Dtype, seconds: float
) -> float:
    """Return texts/s of the pipeline with its worker process, texts and outputs in memory."""
    import io

    from streamlabel.tools.capacity import measure
    from streamlabel.tools.offline import open_records

    model = {"backend": "encoder", "path": str(folder), "device": device, "dtype": dtype}
    settings = Settings.model_validate({"model": model, "logging": {"level": "WARNING"}})
    lines = (
        json.dumps({"text": " ".join(f"w{number - 4}" for number in ids[1:-1])}) for ids in rows
    )
    stream = io.BytesIO("\n".join(lines).encode())
    records, decoding = open_records(stream, "jsonl", settings)
    found = await measure(
        settings, list(records), decoding=decoding, seconds=seconds, clock=SystemClock()
    )
    return found.per_process


async def _of_model(
    shape: Shape, folder: Path, *, device: str, dtype: Dtype, seconds: float, count: int
) -> tuple[dict[str, float], str]:
    from streamlabel.models.encoder import classifier as encoder

    equal = random_rows(count, vocabulary=shape.vocabulary, length=_LENGTH)
    mixed = random_rows(count, vocabulary=shape.vocabulary)
    settings = EncoderSettings(path=str(folder), device=device, dtype=dtype)
    classifier = await asyncio.to_thread(encoder.load, settings)
    try:
        at_128 = await engine_rate(classifier, equal, seconds=seconds)
        on_mix = await engine_rate(classifier, mixed, seconds=seconds)
        computed = classifier.identity.details["forward"]
    finally:
        await classifier.close()
    padded = await asyncio.to_thread(
        padded_rate, folder, mixed, device=device, dtype=dtype, seconds=seconds
    )
    service_s = max(seconds, _SERVICE_S)
    service = await service_rate(folder, mixed, device=device, dtype=dtype, seconds=service_s)
    return {
        "tflops": useful_flops(shape, _LENGTH) * at_128 / 1e12,
        "rows_per_s": on_mix,
        "padded_rows_per_s": padded,
        "service_texts_per_s": service,
        "over_padded": on_mix / padded,
        "service_over_engine": service / on_mix,
    }, computed


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Run it; write the result if there is a device. Return the figures."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, help="of each measurement")
    parser.add_argument("--models", nargs="+", help="only these")
    wanted = parser.parse_args(arguments)
    has_device = torch.cuda.is_available()
    device = "cuda" if has_device else "cpu"
    dtype: Dtype = "bfloat16" if has_device else "float32"
    models, count, squares = (MODELS, _ROWS, _SQUARES) if has_device else (TINY, 64, (256, 512))
    seconds = wanted.seconds or (8.0 if has_device else 0.5)
    began_s = time.monotonic()
    peak = machine_flops(device, dtype, seconds=seconds, squares=squares)
    figures = {"matmul_tflops": peak / 1e12}
    page = [
        "| model | computed | share of the products' rate | over padded | service over engine |"
    ]
    page += ["| --- | --- | ---: | ---: | ---: |"]
    with tempfile.TemporaryDirectory() as scratch:
        for name, shape in models.items():
            if wanted.models and name not in wanted.models:
                continue
            if time.monotonic() - began_s > 0.7 * _LIMIT_S:
                sys.stderr.write(f"{name} is left out: the time is over\n")
                continue
            folder = save(shape, Path(scratch) / name)
            found, computed = asyncio.run(
                _of_model(shape, folder, device=device, dtype=dtype, seconds=seconds, count=count)
            )
            found["share"] = 1e12 * found["tflops"] / peak
            figures |= {f"{name}_{figure}": value for figure, value in found.items()}
            cells = [
                f"{found[each]:.2f}" for each in ("share", "over_padded", "service_over_engine")
            ]
            page.append(f"| {name} | {computed} | {' | '.join(cells)} |")
        if not wanted.models or _LLM in wanted.models:
            found = asyncio.run(
                measure_llm(
                    Path(scratch),
                    sizes=QWEN if has_device else {},
                    device=device,
                    dtype=dtype,
                    seconds=seconds,
                    count=count,
                )
            )
            figures |= found
            page += ["", "| language model | texts/s | plain generate | ratio |"]
            page += ["| --- | ---: | ---: | ---: |"]
            cells = [f"{value:.4g}" for value in found.values()]
            page.append(f"| {'Qwen2.5-0.5B' if has_device else 'tiny'} | {' | '.join(cells)} |")
    report = "\n".join(page) + "\n"
    if not has_device:
        sys.stdout.write(report + "No CUDA device: tiny models on the CPU; nothing is stored.\n")
        return figures
    card = torch.cuda.get_device_name()
    results_file.write(
        "gpu",
        command=f"python -m benchmarks.gpu --seconds {seconds:g} --models {' '.join(models)}",
        figures=figures,
        page=f"{card}, bfloat16, matrix products {peak / 1e12:.0f} TFLOP/s.\n\n{report}",
        details={"device": card, "seconds": round(time.monotonic() - began_s)},
    )
    return figures


if __name__ == "__main__":
    # why a model is not packed is an INFO line
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    main()
