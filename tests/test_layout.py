"""The structure of the source tree: rules of style and packaging."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.assertions import assertless, vague_refusals
from tests.conftest import LONGEST

ROOT = Path(__file__).parents[1]
FOLDERS = ("streamlabel", "consumer", "models", "config")
LINKED = ("consumer", "models", "config")

# A module is one idea of 60 to 200 lines. These are longer, with the reason.
MAX_LINES = 250
LONGER = {
    "consumer/kafka/source.py": "fetching, seeking and membership share the state of one consumer",
    "consumer/core/metric_names.py": "one table: all metrics",
    "streamlabel/errors.py": "one tree: all errors",
    "streamlabel/console/store/tables.py": "one schema: all tables of the database",
    "consumer/output/schemas.py": "one contract: all fields of the messages",
    "streamlabel/console/store/api.py": "one contract: what pages and topics ask of the store",
    "streamlabel/console/store/items.py": "one table: all values of the store",
    "consumer/pipeline.py": "the only loop: all steps of a text in one place",
    "models/encoder/families.py": "one table: all encoder families",
    "config/presets.py": "one table: all presets of language models",
    "config/task.py": "one section: all settings of a task",
    "models/remote/client.py": "one policy: tries, pauses and blame share their state",
    "models/vllm/runtime.py": "one engine: all of its requests",
    "models/worker/worker_classifier.py": "proxy and process life cycle share their state",
}

# A shorter module that one other alone imports is a part of that one. Those that are not, with the
# reason.
MIN_LINES = 40
SHORTER = {
    "streamlabel/commands/version.py": "each command is a module, which the program names",
}

# Importing them takes seconds and gigabytes, or they are not installed.
HEAVY = ("torch", "transformers", "vllm", "torch_npu", "confluent_kafka")


# The rooms that are not installed, and which of them each may import.
UNINSTALLED = {
    "testing": {"testing"},
    "tests": {"testing", "tests"},
    "benchmarks": {"testing", "benchmarks"},
}

TOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
SETUPTOOLS = TOOLS["setuptools"]
TESTS = [ROOT / folder for folder in TOOLS["pytest"]["ini_options"]["testpaths"]]


def real(pattern: str) -> Iterator[Path]:
    """Files in the source folders, without duplicates through the links."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob(pattern)):
            linked = any((ROOT / parent).is_symlink() for parent in path.relative_to(ROOT).parents)
            if not linked and "__pycache__" not in path.parts:
                yield path


MODULES = [path.relative_to(ROOT).as_posix() for path in real("*.py")]
by_module = pytest.mark.parametrize("module", MODULES)


def dotted(path: str) -> str:
    """Return the name that a file below the root is imported by."""
    name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return name if name.startswith("streamlabel") else f"streamlabel.{name}"


def test_the_packages_are_the_folders_that_hold_an_init() -> None:
    """A package that is not listed would be missing from the wheel."""
    found = [dotted(path.relative_to(ROOT).as_posix()) for path in real("__init__.py")]
    assert sorted(SETUPTOOLS["packages"]) == sorted(found)


def test_every_package_is_mapped_to_its_folder() -> None:
    found = {dotted(path.relative_to(ROOT).as_posix()): path.parent for path in real("__init__.py")}
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


def lone(sources: Mapping[str, str]) -> set[str]:
    """Return the short modules that one other alone imports.

    Args:
        sources: what is in each file, by its path below the root.
    """
    importers: dict[str, set[str]] = {}
    for path, source in sources.items():
        for name in imported(source):  # a module, or something in one
            for module in (name, name.rpartition(".")[0]):
                importers.setdefault(module, set()).add(path)
    return {
        path
        for path, source in sources.items()
        if not path.endswith("__init__.py") and len(source.splitlines()) < MIN_LINES
        if len(importers.get(dotted(path), set()) - {path}) == 1
    }


def test_a_short_module_has_more_than_one_importer() -> None:
    assert lone({module: (ROOT / module).read_text() for module in MODULES}) == set(SHORTER)
    assert all(SHORTER.values())


def test_a_short_module_with_one_importer_is_found() -> None:
    taken = "from streamlabel.config import lonely, shared\nfrom streamlabel.config.long import X"
    assert lone(
        {
            "config/lonely.py": "LONELY = 1",
            "config/shared.py": "SHARED = 1",
            "config/long.py": "X = 1\n" * MIN_LINES,
            "consumer/one.py": taken,
            "consumer/other.py": "def f(): import streamlabel.config.shared",
        }
    ) == {"config/lonely.py"}


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


def imported(source: str) -> Iterator[str]:
    """Yield the modules that a source imports, wherever in it; of a package what is taken."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("room", UNINSTALLED)
def test_tests_and_benchmarks_share_only_the_testing_room(room: str) -> None:
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in sorted((ROOT / room).rglob("*.py"))
        for name in imported(path.read_text())
        if name.partition(".")[0] in UNINSTALLED.keys() - UNINSTALLED[room]
    }
    assert found == set()


def test_nothing_installed_imports_what_is_not() -> None:
    found = {
        f"{module}: {name}"
        for module in MODULES
        for name in imported((ROOT / module).read_text())
        if name.partition(".")[0] in UNINSTALLED
    }
    assert found == set()


INTERNALS = "consumer/kafka/aiokafka_internals/"
# Signs of the use of private names of aiokafka, some of which a linter does not see.
PRYING = ("SLF001", "cr_frame", "f_locals", "kafka_errors =")
OURS = [
    module
    for module in MODULES
    if module.startswith(("consumer/", "streamlabel/")) and not module.startswith(INTERNALS)
]


@pytest.mark.parametrize("module", OURS)
def test_only_one_package_uses_what_is_private_of_aiokafka(module: str) -> None:
    source = (ROOT / module).read_text()
    assert [word for word in PRYING if word in source] == []
    assert list(inherited_privates(source)) == []


def test_ruff_lets_that_package_and_the_tests_use_what_is_private() -> None:
    ignores = TOOLS["ruff"]["lint"]["per-file-ignores"]
    allowed = [pattern for pattern, rules in ignores.items() if "SLF001" in rules]
    # that stands in for torch_npu, which is made of private parts of torch
    assert allowed == ["tests/**", "testing/npu/**", f"{INTERNALS}**"]


def inherited_privates(source: str) -> Iterator[str]:
    """Yield private names of aiokafka's classes that are used in classes derived from them."""
    tree = ast.parse(source)
    theirs = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("aiokafka")
        for alias in node.names
    }
    for each in ast.walk(tree):
        if not isinstance(each, ast.ClassDef) or not {ast.unparse(b) for b in each.bases} & theirs:
            continue
        used = [node for node in ast.walk(each) if isinstance(node, ast.Attribute)]
        own = {node.attr for node in used if isinstance(node.ctx, ast.Store)}
        own |= {
            node.name
            for node in each.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        for node in used:
            is_private = ast.unparse(node.value) == "self" and node.attr.startswith("_")
            if is_private and node.attr not in own:
                yield f"{each.name}.{node.attr}"


def test_what_a_class_inherits_in_private_is_found() -> None:
    source = (
        "from aiokafka.conn import Theirs\n"
        "class Mine(Theirs):\n"
        "    def __init__(self): self._own = 1\n"
        "    def _step(self): return self._own, self._step, self._foreign\n"
    )
    assert list(inherited_privates(source)) == ["Mine._foreign"]


def test_the_service_imports_without_the_heavy_libraries() -> None:
    """They are imported when a model is loaded, in the worker process."""
    modules = [dotted(module) for module in MODULES if module.startswith(("consumer/", "config/"))]
    modules.append("streamlabel.models.worker.worker_classifier")
    source = "".join(f"import {module}\n" for module in modules)
    source += f"import sys; print(*[name for name in {HEAVY} if name in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == []


def test_every_test_asserts_something() -> None:
    """By itself, with pytest.raises, or through a helper of the tests that does."""
    assert [found for folder in TESTS for found in assertless(folder)] == []


def test_every_refusal_says_which_one_is_meant() -> None:
    """For our own errors: without a check of the message, any of them would pass."""
    assert [found for folder in TESTS for found in vague_refusals(folder)] == []


def test_what_asserts_nothing_is_found(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "def helper(): assert True\n"
        "def useless(): pass\n"
        "def test_good(): helper()\n"
        "def test_bad(): useless()\n"
        "async def test_vague():\n"
        "    with pytest.raises(ConfigError): pass\n"
        "    with pytest.raises(ConfigError, match='x'): pass\n"
        "    with pytest.raises(ConfigError) as raised: assert raised\n"
    )
    assert list(assertless(tmp_path)) == ["test_it.py:5 test_bad"]
    assert list(vague_refusals(tmp_path)) == ["test_it.py:7 pytest.raises(ConfigError)"]


# ``models.tokens.seen.Seen``: a module, or a name in one, in a docstring or comment.
NAMED = re.compile(r"``((?:consumer|models|config)(?:\.[a-z_][a-z_0-9]*)+)(?:\.([A-Z]\w*))?``")


@by_module
def test_what_docstrings_refer_to_is_there(module: str) -> None:
    """References must be updated when a module moves."""
    gone = []
    for match in NAMED.finditer((ROOT / module).read_text()):
        path = ROOT.joinpath(*match[1].split("."))
        file = path.with_suffix(".py")
        parent = path.parent.with_suffix(".py")
        if match[2]:
            found = re.search(rf"\b{match[2]}\b", file.read_text()) if file.is_file() else None
            is_there = found is not None
        elif path.is_dir() or file.is_file() or not parent.is_file():
            is_there = path.is_dir() or file.is_file()
        else:  # a function
            name = rf"^(?:async def |def |){path.name}\b"
            is_there = re.search(name, parent.read_text(), re.MULTILINE) is not None
        if not is_there:
            gone.append(match[0])
    assert gone == []


def test_the_files_that_begin_first_are_there() -> None:
    """Here, not where tests are collected: the tests of the core also run without the others."""
    assert [name for name in LONGEST if not (Path(__file__).parent / name).is_file()] == []
