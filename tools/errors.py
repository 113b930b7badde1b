"""Writes docs/errors.md: every stable code of an error, read from the source that raises it.

A code is the first argument of an error's constructor. Some are handed to it: by a function that
passes its `code` on (such a function is then read as a constructor too), by a subclass that names
its one code, or by a table of the module, whose entries are a code beside its text.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[1] / "src" / "awaken"
IGNORED = ("testing", "demo")
CODE = re.compile(r"[a-z]+(_[a-z]+)*")


class Kind(NamedTuple):
    """What a call makes: a family, the status and the retry it has unless the call says otherwise.

    `form` is what a function makes of the code that it is given, `text` what it says by itself.
    """

    family: str
    status: int | None
    retryable: bool | None = None
    form: str = "{}"
    text: str = ""


class Found(NamedTuple):
    """A code as it is raised somewhere."""

    code: str
    kind: Kind
    text: str


FAMILIES = {
    "RequestError": Kind("refusal", 400),
    "Refusal": Kind("refusal", 409),
    "Fault": Kind("fault", 500),
    "Failure": Kind("fault", None, False),
    "StoreFault": Kind("store", 503, True),
    "ClientError": Kind("client", None),
}

HEAD = """# Error codes

Every error has a code that stays, and a text that may change. This page is made from the source:
the texts are those that are written there, with `…` for what is put in. What the answers look like
is in [the HTTP API](http.md#conventions).
"""
RETRY = ("Code", "Another attempt may help", "Text")
SECTIONS = {
    "refusal": (
        "Refusals",
        "What a request is answered with. A 4xx other than 409 and 429 fails again when it is\n"
        "repeated unchanged. What belongs to another tenant does not exist.",
        ("Code", "Status", "Text"),
    ),
    "fault": (
        "Faults of a run",
        "What ends a run, once no attempt is left or where none can help: the `code` of its\n"
        "termination. Clients are shown the text only where it was written for them.",
        RETRY,
    ),
    "store": (
        "Faults of the store",
        "A request is answered 503 with `retry-after`. A run tries again while it has its lease.",
        RETRY,
    ),
    "client": (
        "Errors of the client",
        "What [`awaken.client`](client.md) adds to the codes of the server.",
        RETRY,
    ),
}


def errors_page() -> str:
    """The page."""
    codes = find_codes(PACKAGE)
    parts = [HEAD]
    for family, (title, text, head) in SECTIONS.items():
        rows = [_row(found) for found in codes if found.kind.family == family]
        parts.append(f"## {title}\n\n{text}\n\n{_table(head, rows)}\n")
    return "\n".join(parts)


def find_codes(package: Path) -> list[Found]:
    """All codes of a package, each once a family, sorted."""
    trees = [
        ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(package.rglob("*.py"))
        if path.relative_to(package).parts[0] not in IGNORED
    ]
    makers = _makers(trees)
    found: dict[tuple[str, str], Found] = {}
    for tree in trees:
        for each in _found(tree, makers):
            at = (each.kind.family, each.code)
            if at not in found or (each.text and not found[at].text):
                found[at] = each
    return sorted(found.values())


# --- what makes an error -------------------------------------------------------------------------


def _makers(trees: list[ast.Module]) -> dict[str, Kind]:
    """The constructors and the functions that pass a code on to one, by name."""
    makers = dict(FAMILIES)
    known = -1
    while known != len(makers):
        known = len(makers)
        for tree in trees:
            makers.update(_further(tree, makers))
    return makers


def _further(tree: ast.Module, makers: dict[str, Kind]) -> dict[str, Kind]:
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name not in makers:
            base = next((_name(base) for base in node.bases if _name(base) in makers), None)
            if base is not None:
                found[node.name] = _of_class(node, makers[base])
        elif isinstance(node, ast.FunctionDef) and node.name not in makers:
            kind = next(filter(None, (_passed(node, call, makers) for call in _calls(node))), None)
            if kind is not None:
                found[node.name] = kind
    return found


def _of_class(node: ast.ClassDef, kind: Kind) -> Kind:
    """The kind of a subclass: its base's, unless its constructor says otherwise."""
    return next((_kind(call, kind) for call in _calls(node) if _is_super(call)), kind)


def _passed(node: ast.FunctionDef, call: ast.Call, makers: dict[str, Kind]) -> Kind | None:
    """The kind of a function, if the call makes an error of the first argument of the function."""
    if _name(call.func) not in makers or not node.args.args:
        return None
    first, code = node.args.args[0].arg, _code(call)
    kind = _kind(call, makers[_name(call.func)])
    if isinstance(code, ast.Name) and code.id in [each.arg for each in node.args.args]:
        return kind._replace(text=_said(call))
    if isinstance(code, ast.JoinedStr) and first in [_name(each) for each in ast.walk(code)]:
        return kind._replace(form=_text(code, "{}"), text=_said(call))
    return None


def _kind(call: ast.Call, kind: Kind) -> Kind:
    """`kind`, as far as the call does not say otherwise."""
    given = {
        keyword.arg: keyword.value.value if isinstance(keyword.value, ast.Constant) else None
        for keyword in call.keywords
    }
    status, retryable = given.get("status", kind.status), given.get("retryable", kind.retryable)
    return kind._replace(
        status=status if isinstance(status, int) else None,
        retryable=retryable if isinstance(retryable, bool) else None,
    )


# --- where one is made ---------------------------------------------------------------------------


def _found(tree: ast.Module, makers: dict[str, Kind]) -> Iterator[Found]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name in makers:
            about = (ast.get_docstring(node) or "").partition("\n")[0]
            for call in filter(_is_super, _calls(node)):
                yield from _of_call(call, makers[node.name], {}, about)
    for scope in (tree, *_functions(tree)):
        names = _assigned(scope)
        for call in _calls(scope):
            if (name := _name(call.func)) in makers:
                kind = _kind(call, makers[name])
                found = list(_of_call(call, kind, names))
                yield from found or (_of_tables(tree, kind) if name in FAMILIES else ())


def _of_call(
    call: ast.Call, kind: Kind, names: dict[str, ast.expr], about: str = ""
) -> Iterator[Found]:
    code = _code(call)
    if isinstance(code, ast.Name):
        code = names.get(code.id)
    for part in [code.body, code.orelse] if isinstance(code, ast.IfExp) else [code]:
        if isinstance(part, ast.Constant) and _is_code(part.value):
            text = kind.text if kind.form != "{}" else _said(call) or kind.text or about
            yield Found(kind.form.format(part.value), kind, text)


def _of_tables(tree: ast.Module, kind: Kind) -> Iterator[Found]:
    """The codes beside their texts, in the dictionaries of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                yield from _of_entry(key, value, kind)


def _of_entry(key: ast.expr | None, value: ast.expr, kind: Kind) -> Iterator[Found]:
    parts = value.elts if isinstance(value, ast.Tuple) else [value]
    constants = [part.value for part in [key, *parts] if isinstance(part, ast.Constant)]
    code = next((str(each) for each in constants if _is_code(each)), None)
    text = next((_text(part) for part in parts if " " in _text(part)), "")
    if code and text:
        retryable = next((each for each in constants if isinstance(each, bool)), kind.retryable)
        yield Found(code, kind._replace(retryable=retryable), text)


# --- small things --------------------------------------------------------------------------------


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return (each for each in ast.walk(tree) if isinstance(each, kinds))


def _assigned(scope: ast.AST) -> dict[str, ast.expr]:
    """What the names of a function stand for."""
    return {
        _name(each.targets[0]): each.value
        for each in ast.walk(scope)
        if isinstance(each, ast.Assign) and not isinstance(scope, ast.Module)
    }


def _code(call: ast.Call) -> ast.expr | None:
    named = (each.value for each in call.keywords if each.arg == "code")
    return call.args[0] if call.args else next(named, None)


def _said(call: ast.Call) -> str:
    named = (each.value for each in call.keywords if each.arg == "message")
    text = call.args[1] if len(call.args) > 1 else next(named, None)
    return "" if text is None else _text(text)


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    return (each for each in ast.walk(node) if isinstance(each, ast.Call))


def _is_super(call: ast.Call) -> bool:
    return (
        isinstance(call.func, ast.Attribute)
        and call.func.attr == "__init__"
        and isinstance(call.func.value, ast.Call)
        and _name(call.func.value.func) == "super"
    )


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _is_code(value: object) -> bool:
    return isinstance(value, str) and CODE.fullmatch(value) is not None


def _text(node: ast.expr, gap: str = "…") -> str:
    """A text as it is written, with `gap` for what is put in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = [_text(part) if isinstance(part, ast.Constant) else gap for part in node.values]
        return re.sub("…+", "…", "".join(parts))
    return ""


def _row(found: Found) -> tuple[str, str, str]:
    about = {True: "yes", False: "no", None: "depends"}[found.kind.retryable]
    if found.kind.family == "refusal":
        about = str(found.kind.status or "")
    return f"`{found.code}`", about, found.text.replace("|", "\\|")


def _table(head: tuple[str, ...], rows: list[tuple[str, str, str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ("---",) * len(head), *rows])
