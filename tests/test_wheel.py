"""The wheel: built once, installed outside the source tree, imported and tested."""

import os
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import streamlabel

ROOT = Path(__file__).parents[1]
SOURCES = ("streamlabel", "consumer", "models", "config")
FILES = ("pyproject.toml", "README.md", "LICENSE")

# Tests of the pure core, which need only what tests share from the source tree.
TAKEN = ("micro_batcher", "offset_tracker", "router", "telemetry", "health")

pytestmark = pytest.mark.timeout(180)


def run(
    *command: str | Path, cwd: Path, environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(environ or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that no files remain in the source tree."""
    tree = tmp_path_factory.mktemp("tree")
    for name in SOURCES:
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=ignore)
    for name in FILES:
        shutil.copy(ROOT / name, tree / name)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist", cwd=tree)
    (built,) = (tree / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="session")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel, first in the import path; dependencies are from this environment."""
    folder = tmp_path_factory.mktemp("site")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    run(*pip, "--no-deps", "--no-index", "--target", folder, wheel, cwd=folder)
    return folder


@pytest.fixture(scope="session")
def names(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def away(site: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}


def test_only_one_name_is_taken_in_site_packages(names: set[str]) -> None:
    """Bare ``models`` and ``config`` would collide with other distributions."""
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"streamlabel"}


def test_every_module_of_the_tree_is_in_the_wheel(names: set[str]) -> None:
    for folder in SOURCES:
        for path in (ROOT / folder).rglob("*.py"):
            inside = path.relative_to(ROOT).as_posix()
            inside = inside if inside.startswith("streamlabel/") else f"streamlabel/{inside}"
            assert "__pycache__" in inside or inside in names, inside


def test_the_wheel_holds_what_is_read_at_run_time_and_no_tests(names: set[str]) -> None:
    assert "streamlabel/py.typed" in names
    assert "streamlabel/config/default.yaml" in names
    for example in (ROOT / "config" / "examples").glob("*.yaml"):
        assert f"streamlabel/config/examples/{example.name}" in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert not [name for name in names if "/test_" in name or "/tests/" in name or ".pyc" in name]


def test_the_wheel_holds_the_examples_and_the_live_page(names: set[str]) -> None:
    for folder in (
        "streamlabel/demo/examples",
        "consumer/observability/page",
        "consumer/output/examples",
    ):
        for path in (ROOT / folder).rglob("*.*"):
            place = path.relative_to(ROOT).as_posix()
            assert (place if folder.startswith("streamlabel") else f"streamlabel/{place}") in names


def test_the_metadata_name_version_program_and_light_dependencies(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (info,) = {n.split("/")[0] for n in archive.namelist() if ".dist-info/" in n}
        metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
        programs = archive.read(f"{info}/entry_points.txt").decode()
    assert metadata["Version"] == streamlabel.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "streamlabel = streamlabel.__main__:main" in programs
    always = [need for need in metadata.get_all("Requires-Dist", []) if "extra ==" not in need]
    assert not [need for need in always if need.startswith(("torch", "transformers", "vllm"))]


IMPORT_ALL = """
import importlib, pathlib, pkgutil, sys
import streamlabel

site = pathlib.Path(sys.argv[1])
assert pathlib.Path(streamlabel.__file__).is_relative_to(site), streamlabel.__file__
for module in pkgutil.walk_packages(streamlabel.__path__, "streamlabel."):
    if module.name.endswith(".migrations.env"):
        continue  # a script of alembic, which runs it itself
    found = importlib.import_module(module.name)
    assert pathlib.Path(found.__file__).is_relative_to(site), found.__file__
    print(module.name)
"""


def test_every_module_imports_from_the_wheel(site: Path, tmp_path: Path) -> None:
    done = run(sys.executable, "-c", IMPORT_ALL, site, cwd=tmp_path, environ=away(site))
    assert "streamlabel.consumer.pipeline" in done.stdout.split()


def test_the_program_runs_from_the_wheel(site: Path, tmp_path: Path) -> None:
    command = (sys.executable, "-m", "streamlabel", "version")
    done = run(*command, cwd=tmp_path, environ=away(site))
    assert streamlabel.__version__ in done.stdout


def test_the_tests_of_the_core_pass_against_the_wheel(site: Path, tmp_path: Path) -> None:
    (tmp_path / "tests" / "unit").mkdir(parents=True)
    for support in (ROOT / "tests").glob("*.py"):
        if not support.name.startswith("test_"):
            shutil.copy(support, tmp_path / "tests")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "testing", tmp_path / "testing", ignore=ignore)
    for name in TAKEN:
        (found,) = (ROOT / "tests" / "unit").rglob(f"test_{name}.py")
        shutil.copy(found, tmp_path / "tests" / "unit")
    (tmp_path / "tests" / "unit" / "test_place.py").write_text(
        "import streamlabel.consumer as c\n"
        f"def test_place(): assert c.__file__.startswith({str(site)!r})\n"
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    done = run(sys.executable, "-m", "pytest", "-q", "tests/unit", cwd=tmp_path, environ=away(site))
    assert " passed" in done.stdout
