"""The contender without tracing is this service, and its pipeline has no word of traces."""

import subprocess
import sys
from pathlib import Path

from benchmarks.tracing_cost import ratio, without_traces


def test_the_copy_without_traces_is_what_runs(tmp_path: Path) -> None:
    folder = without_traces(tmp_path)
    text = (folder / "consumer" / "pipeline.py").read_text()
    assert "_watch.batch" not in text
    assert "_watch.opened" not in text
    where = "import streamlabel.consumer.pipeline as p; print(p.__file__)"
    done = subprocess.run(
        ["env", f"PYTHONPATH={folder}", sys.executable, "-P", "-c", where],
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()).is_relative_to(folder)


def test_each_round_is_compared_with_its_own_before() -> None:
    rates = {"before": [100.0, 50.0, 10.0], "off": [99.0, 60.0, 10.0]}
    assert ratio(rates, "off") == (1.0, 0.99, 1.2)
