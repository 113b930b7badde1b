"""The manifests in docs/requirements: each requirement has tests, and each test a requirement."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MANIFESTS = sorted((ROOT / "docs" / "requirements").glob("*.toml"))

every = pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)


def read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def names_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, functions) and node.name.startswith("test_")
    }


@pytest.fixture(scope="module")
def all_tests() -> set[str]:
    files = [
        path for path in (ROOT / "tests").rglob("test_*.py") if "node_modules" not in path.parts
    ]
    return set().union(*map(names_in, files))


def test_there_are_manifests() -> None:
    assert MANIFESTS


@every
def test_each_requirement_is_complete_and_there_once(path: Path) -> None:
    manifest = read(path)
    ids = [each["id"] for each in (*manifest["requirement"], *manifest.get("divergence", ()))]
    assert len(ids) == len(set(ids))
    for each in manifest["requirement"]:
        assert each["text"]
        assert each["source"].startswith("https://")
        assert each["tests"], each["id"]
    assert all(each["why"] for each in manifest.get("divergence", ()))


@every
def test_each_test_that_is_named_exists(path: Path, all_tests: set[str]) -> None:
    named = {test for each in read(path)["requirement"] for test in each["tests"]}
    assert named <= all_tests


@every
def test_each_test_of_the_suites_is_named_by_a_requirement(path: Path) -> None:
    manifest = read(path)
    named = {test for each in manifest["requirement"] for test in each["tests"]}
    there = set().union(*(names_in(ROOT / suite) for suite in manifest["suites"]))
    assert there - named == set()
