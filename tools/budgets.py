"""Size budgets and two bans, over the hand-written Python files of the package.

    python tools/budgets.py [DIRECTORY]

Fails with one `file:line: message` per finding:

* a file of more than 500 lines (`wire` modules and packages aside: they copy a public format);
* a function of more than 60 lines, docstring included;
* a `type: ignore` comment that gives no reason behind its codes;
* `NotImplementedError`: an abstract method is a `Protocol` member, unfinished work stays out.
"""

from __future__ import annotations

import ast
import io
import re
import statistics
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60
IGNORE = re.compile(r"#\s*type:\s*ignore(?:\[[^\]]*\])?(?P<reason>.*)")

Function = ast.FunctionDef | ast.AsyncFunctionDef
Finding = tuple[int, str]


def main(argv: list[str]) -> int:
    root = Path(argv[1] if len(argv) > 1 else "src")
    paths = sorted(root.rglob("*.py"))
    if not paths:
        print(f"{root}: no Python files")
        return 1
    failed = False
    lengths: list[int] = []
    lines = 0
    for path in paths:
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source, filename=str(path))
        for line, message in sorted(check(path.relative_to(root), source, tree)):
            print(f"{path}:{line}: {message}")
            failed = True
        lengths += [length(node) for node in functions(tree)]
        lines += len(source.splitlines())
    median = statistics.median(lengths) if lengths else 0
    print(f"{len(paths)} files, {lines} lines, {len(lengths)} functions, median {median:g} lines")
    return int(failed)


def check(path: Path, source: str, tree: ast.Module) -> Iterator[Finding]:
    """Everything wrong with one file; `path` is relative to the checked directory."""
    count = len(source.splitlines())
    if count > MAX_FILE_LINES and "wire" not in path.with_suffix("").parts:
        yield 1, f"file has {count} lines, at most {MAX_FILE_LINES} are allowed"
    for node in functions(tree):
        if length(node) > MAX_FUNCTION_LINES:
            yield (
                node.lineno,
                f"{node.name} has {length(node)} lines, at most {MAX_FUNCTION_LINES} are allowed",
            )
    for name in ast.walk(tree):
        if isinstance(name, ast.Name) and name.id == "NotImplementedError":
            yield name.lineno, "NotImplementedError is not used here"
    yield from unexplained_ignores(source)


def unexplained_ignores(source: str) -> Iterator[Finding]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            match = IGNORE.search(token.string)
            if match and not re.search(r"[A-Za-z]{3}", match["reason"]):
                yield token.start[0], "`type: ignore` needs a reason: `# type: ignore[code]  # why`"


def functions(tree: ast.Module) -> list[Function]:
    return [node for node in ast.walk(tree) if isinstance(node, Function)]


def length(node: Function) -> int:
    """Lines from `def` to the last statement."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
