"""The shape of the source tree: what style and packaging promise about it."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("streamlabel", "consumer", "models", "config")
LINKED = ("consumer", "models", "config")

# A module is one idea of 60 to 200 lines. Longer ones, with the reason.
MAX_LINES = 250
LONGER = {
    "consumer/kafka_source.py": "one port of aiokafka with its error mapping; 250 by design",
    "consumer/pipeline.py": "the one loop: what happens to a text, in one place",
    "models/worker.py": "the proxy and the life of one process: neither is whole without the other",
}

# They take seconds and gigabytes to import, or are not installed at all.
HEAVY = ("torch", "transformers", "vllm", "torch_npu", "confluent_kafka")


SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def real(pattern: str) -> Iterator[Path]:
    """Files below the source folders, without what the links show a second time."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob(pattern)):
            linked = any((ROOT / parent).is_symlink() for parent in path.relative_to(ROOT).parents)
            if not linked and "__pycache__" not in path.parts:
                yield path


MODULES = [path.relative_to(ROOT).as_posix() for path in real("*.py")]
by_module = pytest.mark.parametrize("module", MODULES)


def package_of(folder: Path) -> str:
    dotted = ".".join(folder.relative_to(ROOT).parts)
    return dotted if dotted.startswith("streamlabel") else f"streamlabel.{dotted}"


def test_the_packages_are_the_folders_that_hold_an_init() -> None:
    """A package that is not listed would be missing from the wheel."""
    found = [package_of(path.parent) for path in real("__init__.py")]
    assert sorted(SETUPTOOLS["packages"]) == sorted(found)


def test_every_package_is_mapped_to_its_folder() -> None:
    found = {package_of(path.parent): path.parent for path in real("__init__.py")}
    assert SETUPTOOLS["package-dir"] == {
        name: folder.relative_to(ROOT).as_posix() for name, folder in found.items()
    }


def test_every_folder_with_code_is_a_package() -> None:
    assert {path.parent for path in real("*.py")} == {path.parent for path in real("__init__.py")}


@pytest.mark.parametrize("name", LINKED)
def test_the_link_for_editors_points_to_the_folder(name: str) -> None:
    link = ROOT / "streamlabel" / name
    assert link.is_symlink()
    assert link.readlink() == Path("..") / name


@by_module
def test_a_module_is_one_idea(module: str) -> None:
    lines = len((ROOT / module).read_text().splitlines())
    assert lines <= MAX_LINES or module in LONGER, f"{lines} lines; split it, or give a reason"


def test_no_reason_is_kept_for_a_module_that_is_short_again() -> None:
    for module, reason in LONGER.items():
        assert len((ROOT / module).read_text().splitlines()) > MAX_LINES, module
        assert reason


@pytest.mark.parametrize("word", ["util", "helper", "common", "misc", "manager"])
def test_no_drawer_for_everything(word: str) -> None:
    assert [module for module in MODULES if word in module] == []


@by_module
def test_imports_are_absolute_and_through_the_package(module: str) -> None:
    for node in ast.walk(ast.parse((ROOT / module).read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative"
            names = [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            assert name.split(".")[0] not in LINKED, f"line {node.lineno}: streamlabel.{name}"


@by_module
def test_a_module_says_what_it_is_for_and_what_it_offers(module: str) -> None:
    tree = ast.parse((ROOT / module).read_text())
    assert ast.get_docstring(tree), "no docstring"
    names = {name.id for name in ast.walk(tree) if isinstance(name, ast.Name)}
    has_code = any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in tree.body)
    assert not has_code or "__all__" in names, "no __all__"


def test_the_service_imports_without_the_heavy_libraries() -> None:
    """They are imported when a model is loaded, in the worker process."""
    modules = [
        module.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for module in MODULES
        if module.startswith(("consumer/", "config/"))
    ]
    source = "".join(f"import streamlabel.{module}\n" for module in [*modules, "models.worker"])
    source += f"import sys; print(*[name for name in {HEAVY} if name in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == []
