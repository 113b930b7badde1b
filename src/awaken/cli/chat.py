"""`awaken chat`."""

from __future__ import annotations

from typing import Annotated

import typer

from awaken.cli.options import Url
from awaken.cli.session import server_url


def chat(
    agent: Annotated[str | None, typer.Argument(metavar="AGENT", help="Whom to talk to.")] = None,
    url: Url = None,
    thread: Annotated[
        str | None, typer.Option(help="The conversation to go on with; without one, a new one.")
    ] = None,
) -> None:
    """Talk to an agent of a running server."""
    from awaken.cli.talk import chat as talk

    raise typer.Exit(talk(server_url(url), agent, thread))
