"""Handles of foreign engines: their packages, their processes."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

__all__ = ["Foreign", "installed"]

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
_CACHE = _ROOT / ".cache" / "engines"


def installed() -> Path:
    """Install the packages of the engines if they are missing or outdated; return the folder.

    They are found behind PYTHONPATH, so that the project's own environment stays as it is.
    """
    wanted = _HERE / "engines.txt"
    made = _CACHE / "made-from.txt"
    if not (made.exists() and made.read_text() == wanted.read_text()):
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
        command += ["--target", str(_CACHE), "-r", str(wanted)]
        subprocess.run(command, check=True)
        made.write_text(wanted.read_text())
    return _CACHE


class Foreign:
    """An engine in its own process, which waits until it is asked to measure.

    Attributes:
        labels: that it gives each row.
        setting: the fastest of those it tried.
        tried: seconds of each on a sample.
    """

    def __init__(
        self, kind: str, folder: Path, *, precision: str, rows: Sequence[Sequence[int]], pad: int
    ) -> None:
        path = os.pathsep.join([str(_ROOT), str(installed())])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.engines.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path, "OPENVINO_TELEMETRY": "0"},
            cwd=_ROOT,
            text=True,
        )
        self.labels: list[int] = []
        self.tried: Mapping[str, float] = {}
        self.setting = ""
        self._asked = {
            "kind": kind, "folder": str(folder), "precision": precision, "pad": pad,
            "rows": [list(row) for row in rows],
        }  # fmt: skip

    def load(self) -> None:
        """Convert the model, and find the best setting.

        Raises:
            RuntimeError: the engine cannot compute this model; the reason is on stderr.
        """
        answer = self._ask(self._asked)
        self.labels, self.tried, self.setting = (
            answer["labels"], answer["tried"], answer["setting"]
        )  # fmt: skip

    def seconds(self) -> float:
        """Return how long one pass over all rows takes."""
        return float(self._ask("measure")["seconds"])

    def _ask(self, document: object) -> Mapping[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(document) + "\n")
        self._process.stdin.flush()
        while line := self._process.stdout.readline():
            if line.startswith("{"):  # libraries print, too
                answer: Mapping[str, Any] = json.loads(line)
                return answer
        raise RuntimeError(f"the engine ended with {self._process.wait()}; see above")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
