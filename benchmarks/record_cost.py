"""What a record costs between Kafka and the model, in Python bytecodes: the same in every run.

    python -m benchmarks.record_cost OTHER

OTHER is the folder of another checkout, to compare with; it needs no environment of its own.
Without it the count of this one is printed, function by function, and nothing is stored. Times
depend on what else runs; this count does not, so that a change of a few per cent is seen at once.
What it leaves out: the libraries in C, and the Kafka client, in whose place are in-memory ports.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import results_file

__all__ = ["CASES", "count"]

_ROOT: Final = Path(__file__).parents[1]
CASES: Final = ("at_least_once", "exactly_once", "with_repeats")
_SHOWN: Final = 25  # functions on the page


def count(checkout: Path, cases: Sequence[str] = CASES) -> dict[str, Any]:
    """Return the bytecodes of a record in a checkout: by case, in all and by function.

    Args:
        checkout: its folder.
        cases: ``at_least_once`` and ``exactly_once``, both without looking for repeats, and
            ``with_repeats``: at least once, with it, where the checkout has it.
    """
    script = _ROOT / "benchmarks" / "record_bytecodes.py"
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    environment.pop("STREAMLABEL_TEST_FROZEN_VALUES", None)  # as in a service
    run = subprocess.run(
        [sys.executable, str(script), *cases],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise SystemExit(f"{checkout}: {run.stderr}")
    found = json.loads(run.stdout)
    assert isinstance(found, dict)
    return found


def main() -> None:
    """Count, and write the result if there is another checkout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path, nargs="?")
    options = parser.parse_args()
    after = count(_ROOT)
    if options.other is None:
        for case, found in after.items():
            print(f"{case}: {found['bytecodes']:,.0f}")
        for function, bytecodes in after["at_least_once"]["functions"].items():
            print(f"{bytecodes:8.1f} {function}")
        return
    _write(options.other, count(options.other.resolve()), after)


def _write(other: Path, before: dict[str, Any], after: dict[str, Any]) -> None:
    figures: dict[str, float] = {}
    rows = ""
    for case in CASES:
        one, two = before[case]["bytecodes"], after[case]["bytecodes"]
        figures |= {
            f"{case}_bytecodes_before": one,
            f"{case}_bytecodes": two,
            f"{case}_bytecodes_over_before": two / one,
        }
        rows += f"| {case.replace('_', ' ')} | {one:,.0f} | {two:,.0f} | {two / one:.2f} |\n"
    functions = list(after["at_least_once"]["functions"].items())[:_SHOWN]
    commit = subprocess.run(
        ["git", "-C", str(other), "rev-parse", "--short=10", "HEAD"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    page = (
        f"Python bytecodes of a record, in-memory ports and a scripted model; before: {commit}.\n\n"
        "| | before | after | ratio |\n| --- | ---: | ---: | ---: |\n"
        f"{rows}\n"
        f"The {_SHOWN} functions that run most, at least once (``<string>``: what dataclasses"
        " generate):\n\n| function | bytecodes |\n| --- | ---: |\n"
        + "".join(f"| `{name}` | {bytecodes:.0f} |\n" for name, bytecodes in functions)
    )
    results_file.write(
        "record_cost",
        command="python -m benchmarks.record_cost OTHER",
        figures=figures,
        page=page,
        details={"before_commit": commit, "functions": {c: after[c]["functions"] for c in CASES}},
        libraries=("orjson", "prometheus-client", "structlog"),
    )


if __name__ == "__main__":
    main()
