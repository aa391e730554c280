"""What plans cost and gain: swaps, identical texts, cascades, a shadow, and a second task.

    python -m benchmarks.plans [--only accuracy|cascades|repeats|shadow|swaps|tasks]

Parts that are not run keep their stored results, each with the commit that it was measured on.
"""

import argparse
import json
import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks import results_file
from benchmarks.plans_accuracy import accuracy
from benchmarks.plans_cascades import proof
from benchmarks.plans_repeats import repeats
from benchmarks.plans_shadow import shadow
from benchmarks.plans_swaps import swaps
from benchmarks.plans_tasks import tasks

_Part = Callable[[argparse.Namespace], tuple[dict[str, float], str, Mapping[str, Any]]]

_PARTS: Final[dict[str, _Part]] = {
    "swaps": lambda asked: swaps(asked.swaps),
    "repeats": lambda asked: repeats(asked.rounds),
    "cascades": lambda asked: proof(asked.trials),
    "accuracy": lambda asked: accuracy(asked.work, asked.minutes),
    "shadow": lambda asked: shadow(asked.rounds),
    "tasks": lambda asked: tasks(asked.rounds),
}


def main() -> None:
    """Run the parts and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=_PARTS)
    parser.add_argument("--rounds", type=int, default=7, help="of all parts but swaps")
    parser.add_argument("--swaps", type=int, default=50, help="with each guarantee")
    parser.add_argument("--trials", type=int, default=1000, help="of simulated cascades")
    parser.add_argument(
        "--work", type=Path, default=Path(".cache/plans"), help="trained models and their answers"
    )
    parser.add_argument(
        "--minutes", type=float, help="of each training: no epoch is begun that would end later"
    )
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    stored = results_file.RESULTS / "plans.json"
    parts: dict[str, Any] = json.loads(stored.read_text())["parts"] if stored.exists() else {}
    for name, part in _PARTS.items():
        if asked.only in {None, name}:
            figures, page, runs = part(asked)
            parts[name] = {
                "figures": figures,
                "page": page,
                "runs": runs,
                "commit": _commit(),
                "date": datetime.now(UTC).date().isoformat(),
                "cpu": results_file.hardware()["cpu"],
            }
    _write(parts)


def _write(parts: Mapping[str, Any]) -> None:
    measured = "\n".join(
        f"- {name}: {part['date']}, {part['cpu']}, commit {part['commit'][:10]}"
        for name, part in parts.items()
    )
    pages = "\n".join(part["page"] for part in parts.values())
    results_file.write(
        "plans",
        command="python -m benchmarks.plans",
        figures={k: v for part in parts.values() for k, v in part["figures"].items()},
        page=f"Measured:\n\n{measured}\n\n{pages}",
        details={"parts": parts},
    )


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
