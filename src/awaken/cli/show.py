"""Printing: tables and sheets for people, JSON for programs, and errors in one line.

To a terminal a table has the terminal's width, and ids are kept whole as long as it can hold them.
To a pipe each row is one line, as long as it must be, without colours: nothing is cut.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, NoReturn

import typer

from awaken.cli.codes import Code

if TYPE_CHECKING:
    from rich.console import Console

WIDE: Final = 10_000
"""The width of what is not a terminal."""
ID_WIDTH: Final = 36
"""The ids that the server makes."""


class Column(NamedTuple):
    """A column of a table; `whole` cells are never shortened."""

    title: str
    cell: Callable[[Any], str]
    whole: bool = False
    style: str = ""


# --- for programs --------------------------------------------------------------------------------


def as_json(value: Any) -> None:
    """One JSON document; in lines for people, on one line for pipes."""
    indent = 2 if sys.stdout.isatty() else None
    typer.echo(json.dumps(value, ensure_ascii=False, indent=indent))


def as_json_line(value: Any) -> None:
    """One line of several, at once."""
    typer.echo(json.dumps(value, ensure_ascii=False))


# --- for people ----------------------------------------------------------------------------------


def say(text: str) -> None:
    """A sentence about what was done."""
    typer.echo(harmless_line(text))


def table(rows: Iterable[Any], columns: Sequence[Column], *, empty: str) -> None:
    """The rows, or the sentence `empty`."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        shown.add_column(
            column.title,
            overflow="fold" if column.whole else "ellipsis",
            no_wrap=not column.whole,
            min_width=ID_WIDTH if column.whole else None,
        )
    for row in rows:
        cells = [(column, harmless_line(column.cell(row))) for column in columns]
        shown.add_row(*[Text(text, style=column.style) for column, text in cells])
    if not shown.row_count:
        say(empty)
        return
    _print(shown)


def sheet(facts: Iterable[tuple[str, str | None]]) -> None:
    """Names and values below each other; what is None is left out."""
    from rich.table import Table
    from rich.text import Text

    shown = Table.grid(padding=(0, 2, 0, 0))
    shown.add_column(no_wrap=True)
    shown.add_column(overflow="fold")
    for name, value in facts:
        if value is not None:
            shown.add_row(Text(name, style="bold"), Text(harmless(value)))
    _print(shown)


def _print(renderable: Any) -> None:
    """Print, without the spaces that fill the last column."""
    console = console_of()
    with console.capture() as capture:
        console.print(renderable)
    typer.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))


def console_of(*, errors: bool = False) -> Console:
    """The console for what people read; without colours when it is no terminal."""
    from rich.console import Console

    stream = sys.stderr if errors else sys.stdout
    return Console(
        stderr=errors,
        width=None if stream.isatty() else WIDE,
        color_system=colours(),
        highlight=False,
        markup=False,
        emoji=False,
    )


def colours() -> Literal["auto"] | None:
    """Whether there may be any; without colours there is no bold either (no-color.org)."""
    return None if os.environ.get("NO_COLOR") else "auto"


def block(title: str, text: str) -> None:
    """A title and, below it, a text as it is."""
    from rich.text import Text

    console = console_of()
    console.print(Text(title, style="bold"), soft_wrap=True)
    console.print(Text(harmless(text)), soft_wrap=True)


def complain(message: str) -> None:
    """An error that is told on standard error, in one line where that is possible."""
    from rich.text import Text

    text = Text(f"awaken: {harmless(message)}", style="red")
    console_of(errors=True).print(text, soft_wrap=True)


def fail(message: str, code: Code = Code.failed) -> NoReturn:
    """End with an error."""
    complain(message)
    raise typer.Exit(code)


def confirm(question: str, *, yes: bool) -> None:
    """Go on only if the user wants it.

    Raises:
        typer.Exit: nobody can be asked, or the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        fail(f"{question} Say so with --yes: there is no terminal to ask", Code.usage)
    if not typer.confirm(question, err=True):
        raise typer.Exit(Code.failed)


# --- texts ---------------------------------------------------------------------------------------


def harmless(text: str) -> str:
    """`text` without characters that a terminal would obey."""
    from awaken.cli.screen import harmless

    return harmless(text)


def harmless_line(text: str) -> str:
    """The same on one line."""
    return " ".join(harmless(text).split("\n"))


def moment(at: int | None) -> str | None:
    """A time in epoch ms, for people, in UTC."""
    if at is None:
        return None
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def age(at: int | None, now: int) -> str:
    """How long ago that was."""
    return "" if at is None else duration(max(0, now - at))


def duration(ms: int) -> str:
    """Milliseconds, for people."""
    if ms < 1_000:
        return f"{ms} ms"
    seconds = ms / 1_000
    if seconds < 60:
        return f"{seconds:.1f} s"
    for unit, size, above in (("min", 60, 3_600), ("h", 3_600, 86_400), ("d", 86_400, None)):
        if above is None or seconds < above:
            return f"{seconds / size:.0f} {unit}"
    raise AssertionError("the last unit has no end")


def plural(count: int, one: str, several: str | None = None) -> str:
    """`1 run`, `2 runs`."""
    return f"{count} {one if count == 1 else several or one + 's'}"
