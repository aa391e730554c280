"""Finds tests without assertions in their source, for the layout test."""

import ast
from collections.abc import Iterator
from pathlib import Path

from streamlabel import errors

__all__ = ["assertless", "vague_refusals"]

_Function = ast.FunctionDef | ast.AsyncFunctionDef
# Functions that assert: pytest's, and jsonschema's.
_ASSERTING = {"raises", "warns", "fail"}


def assertless(root: Path) -> Iterator[str]:
    """Yield every test that neither asserts nor calls a helper of the tests that does."""
    trees = {path: ast.parse(path.read_text()) for path in sorted(root.rglob("*.py"))}
    own = {path: _functions(tree) for path, tree in trees.items()}
    asserting = _helpers(trees, own)
    for path, functions in own.items():
        for function in functions:
            is_test = function.name.startswith("test_")
            if is_test and not _asserts(function, asserting[path]):
                yield f"{path.relative_to(root)}:{function.lineno} {function.name}"


def vague_refusals(root: Path) -> Iterator[str]:
    """Yield every ``pytest.raises`` of our own errors that does not check the message."""
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            for item in node.items if isinstance(node, ast.With | ast.AsyncWith) else ():
                call = item.context_expr
                is_looked_at = item.optional_vars is not None
                if isinstance(call, ast.Call) and _is_vague(call) and not is_looked_at:
                    yield f"{path.relative_to(root)}:{call.lineno} {ast.unparse(call)}"


def _is_vague(call: ast.Call) -> bool:
    if ast.unparse(call.func) != "pytest.raises" or not call.args:
        return False
    named = {node.id for node in ast.walk(call.args[0]) if isinstance(node, ast.Name)}
    return bool(named & {*errors.__all__}) and not call.keywords


def _helpers(
    trees: dict[Path, ast.Module], own: dict[Path, list[_Function]]
) -> dict[Path, set[str]]:
    """Return for each module the names that assert when called, imported ones included."""
    asserting = {path: _closure(functions, set()) for path, functions in own.items()}
    by_module = {".".join((path.parent.name, path.stem)): path for path in trees}
    for _ in range(3):  # helpers of helpers
        for path, tree in trees.items():
            imported = {
                alias.name: ".".join(node.module.rsplit(".", 2)[-2:])
                for node in ast.walk(tree)
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests.")
                for alias in node.names
                if node.module
            }
            borrowed = {
                name
                for name, module in imported.items()
                if module in by_module and name in asserting[by_module[module]]
            }
            asserting[path] = _closure(own[path], asserting[path] | borrowed)
    return asserting


def _closure(functions: list[_Function], known: set[str]) -> set[str]:
    while True:
        found = {f.name for f in functions if not f.name.startswith("test_")}
        more = {f.name for f in functions if f.name in found - known and _asserts(f, known)}
        if not more:
            return known
        known = known | more


def _asserts(function: _Function, helpers: set[str]) -> bool:
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else None
            called = node.func.id if isinstance(node.func, ast.Name) else called
            if called in _ASSERTING or called in helpers:
                return True
    return False


def _functions(tree: ast.Module) -> list[_Function]:
    return [node for node in ast.walk(tree) if isinstance(node, _Function)]
