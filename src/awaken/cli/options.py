"""Options that many commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Url = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="The server; default AWAKEN_URL, else the address in the settings of this directory.",
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print JSON, and nothing else, to standard output.")
]
Limit = Annotated[int, typer.Option(min=1, help="How many are shown.")]
All = Annotated[bool, typer.Option("--all", help="Show all of them.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def group() -> typer.Typer:
    """A group of commands."""
    return typer.Typer(no_args_is_help=True, rich_markup_mode=None)
