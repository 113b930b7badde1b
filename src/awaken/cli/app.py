"""All commands, and the entry point."""

from __future__ import annotations

from typing import Annotated

import typer

from awaken.cli import (
    chat,
    dead_letters,
    doctor,
    keys,
    migrate,
    resources,
    runs,
    schedules,
    serve,
    threads,
    tickets,
    worker,
)

HELP = "A durable server for AI agents."

cli = typer.Typer(
    name="awaken",
    help=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # the help of a terminal program; and half the time of an import
)


def main() -> None:
    """The entry point."""
    cli(prog_name="awaken")


def _print_version(wanted: bool) -> None:
    if wanted:
        from awaken import __version__

        typer.echo(f"awaken {__version__}")
        raise typer.Exit


@cli.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="The version."),
    ] = False,
) -> None:
    """A durable server for AI agents."""


cli.command()(serve.serve)
cli.command()(worker.worker)
cli.command()(migrate.migrate)
cli.command()(doctor.doctor)
cli.command()(chat.chat)
cli.add_typer(runs.app, name="runs", help="Look at runs, follow them, stop them.")
cli.add_typer(threads.app, name="threads", help="Look at threads, export and delete them.")
cli.add_typer(tickets.app, name="tickets", help="Look at what runs ask, and decide it.")
cli.add_typer(dead_letters.app, name="dead-letters", help="What was given up: again, or never.")
cli.add_typer(schedules.app, name="schedules", help="What is submitted again and again.")
cli.add_typer(resources.app, name="resources", help="All that belongs to one user.")
cli.add_typer(keys.app, name="keys", help="Make keys, and check them.")
