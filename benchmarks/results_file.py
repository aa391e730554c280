"""Writes the results of a benchmark: a JSON file with their provenance, and a page."""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["RESULTS", "commit", "hardware", "rounded", "write"]

RESULTS = Path(__file__).parent / "results"

_LIBRARIES = ("aiokafka", "confluent-kafka", "numpy", "tokenizers", "torch", "transformers")


def write(
    name: str,
    *,
    command: str,
    figures: Mapping[str, float],
    page: str,
    details: Mapping[str, Any] | None = None,
    libraries: Sequence[str] = _LIBRARIES,
) -> None:
    """Write ``results/NAME.json`` and ``results/NAME.md``.

    Args:
        name: of the benchmark.
        command: that produced the numbers.
        figures: name -> value; ratios and targets.
        page: Markdown body; a heading with command, commit and machine is added before it.
        details: further data: rows, settings, repetitions.
        libraries: distributions whose versions are recorded.
    """
    RESULTS.mkdir(exist_ok=True)
    record = {
        "command": command,
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "versions": _versions(libraries),
        "hardware": hardware(),
        "figures": {key: rounded(value) for key, value in figures.items()},
        **(details or {}),
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    head = (
        f"# {name}\n\n`{command}` on {record['date']}, commit {record['commit'][:10]}, "
        f"{record['hardware']['cpu']}, {record['hardware']['cores']} cores.\n\n"
    )
    (RESULTS / f"{name}.md").write_text(head + page.rstrip() + "\n")
    sys.stdout.write(head + page + "\n")


def rounded(value: float) -> float:
    """Return a figure with four decimals, a small one with three digits: 5.2e-06 is not 0."""
    return round(value, 4) if abs(value) >= 0.01 else float(f"{value:.3g}")


def hardware() -> dict[str, Any]:
    """Return the machine of the measurement."""
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        cpu = next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), cpu)
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory_bytes / 2**30, 1),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
    }


def commit() -> str:
    """Return the commit that is checked out; unknown without a repository."""
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
        cwd=RESULTS.parent,
    )
    return done.stdout.strip() or "unknown"


def _versions(libraries: Sequence[str]) -> dict[str, str]:
    found = {}
    for library in libraries:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
