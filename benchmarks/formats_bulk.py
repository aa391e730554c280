"""Bulk: the same texts through ``streamlabel classify`` and through actors of Ray."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from pyarrow import parquet

from streamlabel.api import load_settings
from streamlabel.ray import classify_files
from testing import texts

__all__ = ["bulk"]

_FILES: Final = 8
_ACTORS: Final = 2
# Of two runs of the same texts, and what names the file.
_VARYING: Final = ("processed_at", "timings_ms", "source", "cached")


def bulk(rounds: int, records: int) -> tuple[dict[str, float], str, Mapping[str, Any]]:
    """Return the figures, the page and the seconds of each round.

    Classify: the program on one Parquet file, with its start. Ray: a running local cluster of two
    CPUs, the same rows in eight files, two actors, with their start.

    Raises:
        RuntimeError: the records differ.
    """
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    import ray

    mix = texts.heavy_tailed_mix()
    rows = [{"id": str(i), "text": mix[i % len(mix)]} for i in range(records)]
    size = -(-records // _FILES)
    seconds: dict[str, list[float]] = {"classify": [], "ray": []}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            whole = _written(folder / "whole.parquet", rows)
            parts = [
                _written(folder / f"part{n}.parquet", rows[n * size : (n + 1) * size])
                for n in range(_FILES)
            ]
            for number in range(rounds):
                out = folder / f"out{number}"
                out.mkdir()
                seconds["classify"].append(_classify(whole, out / "whole.parquet"))
                seconds["ray"].append(_ray(parts, out))
                ours = [r for p in parts for r in _records(out / f"{p.name}.parquet")]
                if ours != _records(out / "whole.parquet"):
                    raise RuntimeError("the records differ")
    finally:
        ray.shutdown()
    ratio = statistics.median(
        a / b for a, b in zip(seconds["classify"], seconds["ray"], strict=True)
    )
    rates = {name: records / statistics.median(each) for name, each in seconds.items()}
    page = (
        f"{records} texts of the heavy-tailed mix in Parquet to a model that does nothing, 2 cores,"
        f" medians of {rounds} interleaved rounds, equal records: `streamlabel classify` with its"
        f" start {rates['classify']:.0f} texts/s, {_ACTORS} actors on a running local Ray cluster,"
        f" with their start, {rates['ray']:.0f} texts/s: {ratio:.3f} times.\n"
    )
    return {"ray_over_classify": ratio}, page, {"seconds": seconds}


def _written(path: Path, rows: list[dict[str, str]]) -> Path:
    parquet.write_table(pa.Table.from_pylist(rows), path)
    return path


def _classify(file: Path, out: Path) -> float:
    began_s = time.monotonic()
    command = [sys.executable, "-m", "streamlabel", "classify", "--set", "model.backend=fake"]
    subprocess.run([*command, "-f", file, "-o", out], check=True, capture_output=True)
    return time.monotonic() - began_s


def _ray(files: list[Path], out: Path) -> float:
    settings = load_settings(overrides={"model.backend": "fake"})
    began_s = time.monotonic()
    classify_files(settings, files, out, actors=_ACTORS)
    return time.monotonic() - began_s


def _records(path: Path) -> list[dict[str, Any]]:
    found = map(json.loads, parquet.read_table(path).column("record").to_pylist())
    return [{k: v for k, v in each.items() if k not in _VARYING} for each in found]
