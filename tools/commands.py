"""The reference of the command line, from the commands themselves: a part of `docs/cli.md`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer.main

from awaken.cli.app import cli

BEGIN = "<!-- commands: made by `make docs` -->\n"
END = "<!-- end of commands -->\n"
GENERAL = {"help", "install_completion", "show_completion", "version"}
EVERYWHERE = {"url": "`--url`", "json": "`--json`"}


def with_reference(page: str) -> str:
    """`page` with the reference as it is now between its marks."""
    assert BEGIN in page, "the marks are there"
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{reference()}{END}{after}"


def reference() -> str:
    """Every command with its arguments and options, in Markdown."""
    root = typer.main.get_command(cli)
    lines = [line for path, each in commands(root, "awaken") for line in about(path, each)]
    return "\n".join(lines)


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """All commands that do something, with the words that call them."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
        return
    for name, each in inner.items():
        yield from commands(each, f"{path} {name}")


def about(path: str, command: Any) -> Iterator[str]:
    """What there is to say about one command."""
    params = [param for param in command.params if param.name not in GENERAL]
    own = [param for param in params if param.name not in EVERYWHERE]
    general = [EVERYWHERE[param.name] for param in params if param.name in EVERYWHERE]
    yield f"### {usage(path, own)}"
    yield ""
    yield from inspect.cleandoc(command.help).split("\n")
    yield ""
    rows = [f"| `{named(param)}` | {text(param)} |" for param in own if text(param)]
    if rows:
        yield from ["| | |", "|---|---|", *rows, ""]
    if general:
        yield from [f"Also {' and '.join(general)}.", ""]


def usage(path: str, params: list[Any]) -> str:
    """The words of a call; options are listed below it."""
    arguments = [word(param) for param in params if param.param_type_name == "argument"]
    return " ".join([path, *arguments])


def word(param: Any) -> str:
    """An argument, in brackets if it may be left out."""
    name = str(param.metavar or param.name.upper())
    return name if param.required or name.startswith("[") else f"[{name}]"


def named(param: Any) -> str:
    """How a parameter is written."""
    if param.param_type_name == "argument":
        return word(param)
    options = ", ".join([*param.opts, *param.secondary_opts])
    if param.is_flag:
        return options
    return f"{options} {kind(param)}"


def kind(param: Any) -> str:
    """What an option takes."""
    annotation = param.type_descriptor.annotation
    if get_origin(annotation) is Literal:
        return "\\|".join(get_args(annotation))
    return str(param.metavar or {int: "NUMBER", Path: "PATH"}.get(annotation, "TEXT"))


def text(param: Any) -> str:
    """What a parameter is for, and its default if that is not in the text."""
    told = (param.help or "").replace("|", "\\|")
    plain = isinstance(param.default, int | str) and not isinstance(param.default, bool)
    return f"{told} Default `{param.default}`." if plain and param.default != "" else told
