"""The domain does no I/O, reads no clock and draws nothing: it imports nothing that could."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import awaken.domain

FOLDER = Path(awaken.domain.__file__).parent
MODULES = sorted(FOLDER.rglob("*.py"))

# Allowed, not forbidden: a new import has to be thought about and named here.
ALLOWED = {
    "__future__",
    "awaken.domain",
    "collections.abc",
    "enum",
    "hashlib",
    "msgspec",
    "re",
    "typing",
}
IMPURE_BUILTINS = {"open", "print", "input", "exec", "eval", "compile", "__import__", "breakpoint"}


def imported(tree: ast.AST) -> Iterator[str]:
    """Names of all imported modules, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def allowed(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in ALLOWED)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_domain_module_imports_only_what_is_pure(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert [module for module in imported(tree) if not allowed(module)] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_domain_module_calls_no_builtin_that_reaches_outside(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = {func.id for func in calls if isinstance(func, ast.Name)}
    assert names & IMPURE_BUILTINS == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_domain_module_has_no_coroutines(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    waits = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    assert not [node for node in ast.walk(tree) if isinstance(node, waits)]


def test_the_modules_were_found() -> None:
    assert {"dispatch", "run", "line", "event"} <= {path.stem for path in MODULES}
