"""Distributions that a test creates on the import path, as pip would install them."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streamlabel.config import installed

__all__ = ["Install", "install"]

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Return a function that installs a distribution: name, entry points by group, modules."""
    modules: list[str] = []

    def write(name: str, points: dict[str, dict[str, str]], **sources: str) -> None:
        folder = tmp_path / f"site-{name}"
        info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n")
        lines = []
        for group, values in points.items():
            lines += [f"[{group}]", *(f"{key} = {value}" for key, value in values.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        for module, source in sources.items():
            (folder / f"{module}.py").write_text(source)
            modules.append(module)
        monkeypatch.syspath_prepend(folder)
        _forget()

    yield write
    for module in modules:
        sys.modules.pop(module, None)
    _forget()


def _forget() -> None:
    installed._registered.cache_clear()
    installed._found.clear()
