"""The command `awaken`. What is slow to import is imported by the command that needs it."""

from __future__ import annotations

import logging
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from awaken.registry.specs import AgentInCode
    from awaken.server.app import App
    from awaken.server.settings import Settings

cli = typer.Typer(
    name="awaken",
    help="A durable server for AI agents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

log = logging.getLogger("awaken.server")


def main() -> None:
    """The entry point."""
    cli()


def _print_version(wanted: bool) -> None:
    if wanted:
        from awaken import __version__

        typer.echo(f"awaken {__version__}")
        raise typer.Exit


@cli.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """A durable server for AI agents."""


@cli.command()
def serve(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODULE_OR_FILE[:ATTR]]", help="Where the agents are; without one, the demo."
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="The address to listen on. (default 127.0.0.1)")
    ] = None,
    port: Annotated[int | None, typer.Option(help="0 takes a free one. (default 8080)")] = None,
    store: Annotated[str | None, typer.Option(help="sqlite:///path or sqlite://:memory:")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where files are kept. (default ./awaken-data)")
    ] = None,
    log_format: Annotated[str | None, typer.Option(help="text or json (default text)")] = None,
) -> None:
    """Run the server and a worker."""
    from awaken.server.settings import SettingsError, load_settings

    given = {
        "host": host,
        "port": port,
        "store": store,
        "data_dir": data_dir,
        "log_format": log_format,
    }
    try:
        settings = load_settings(os.environ, Path.cwd(), given)
    except SettingsError as error:
        _fail(str(error))
    from awaken.server.logs import set_up_logging

    set_up_logging(settings.log_format, settings.log_level)
    _serve(target, settings)


@cli.command()
def chat(
    agent: Annotated[str | None, typer.Argument(metavar="AGENT", help="Whom to talk to.")] = None,
    url: Annotated[
        str | None, typer.Option(help="The server. (default: the one of the settings)")
    ] = None,
    thread: Annotated[
        str | None, typer.Option(help="The conversation to go on with; without one, a new one.")
    ] = None,
) -> None:
    """Talk to an agent of a running server."""
    from awaken.server.chat import chat as talk

    raise typer.Exit(talk(url or _server_url(), agent, thread))


def _server_url() -> str:
    """Where a server with the settings of this directory listens."""
    from awaken.server.settings import SettingsError, load_settings

    try:
        settings = load_settings(os.environ, Path.cwd())
    except SettingsError as error:
        _fail(str(error))
    host = settings.host.strip("[]")
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _serve(target: str | None, settings: Settings) -> None:
    from awaken.errors import StoreFault
    from awaken.registry.specs import AgentError
    from awaken.server import serving
    from awaken.server.app import create_app
    from awaken.server.loading import LoadError
    from awaken.server.settings import SettingsError

    try:
        app = create_app(_agents(target, settings), settings)
        bound = serving.listener(settings)
        serving.run(app, bound, lambda: _announce(app, bound, target))
    except (LoadError, AgentError, SettingsError, serving.AddressError) as error:
        _fail(str(error))
    except StoreFault as fault:
        _fail(_store_trouble(fault, settings))


def _agents(target: str | None, settings: Settings) -> list[AgentInCode]:
    if target is None:
        from awaken import demo

        with suppress(OSError):  # whoever needs the directory says what is wrong with it
            settings.data_dir.mkdir(parents=True, exist_ok=True)
        return [*demo.make_agents(data_dir=settings.data_dir)]
    from awaken.server.loading import load_agents

    return load_agents(target)


def _store_trouble(fault: Exception, settings: Settings) -> str:
    """Why the store cannot be opened, and what to do."""
    if getattr(fault, "code", "") == "store_in_use":
        return f"{fault}. Stop that process, or use another --data-dir"
    return f"the store {settings.store_told} cannot be opened: {fault}"


def _fail(message: str) -> NoReturn:
    typer.secho(f"awaken: {message}", fg="red", err=True)
    raise typer.Exit(1)


def _announce(app: App, bound: socket.socket, target: str | None) -> None:
    """Tell people, or the log, that requests are answered."""
    from awaken.server.serving import address

    names = [spec.agent_id for spec in app.registry.agents("")]
    if app.settings.log_format == "json":
        facts = {"address": address(bound), "store": app.settings.store_told, "agents": names}
        log.info("serving", extra=facts)
        return
    reach = app.settings.reach
    told = app.settings.store_told
    typer.echo(start_text(address(bound), told, names, demo=target is None, reach=reach))


def start_text(address: str, store: str, agents: list[str], *, demo: bool, reach: str) -> str:
    """What `serve` prints when it is ready."""
    from awaken import __version__
    from awaken.server.page import curl_line, talkative

    hint = "  (the demo; name a module or file to serve your own)" if demo else ""
    command = curl_line(address, talkative(agents)).replace("\n", "\n            ")
    return "\n".join(
        [
            f"Awaken {__version__} is ready",
            "",
            f"  address   {address}  ({reach})",
            f"  store     {store}",
            f"  agents    {', '.join(agents)}{hint}",
            f"  API       {address}/docs",
            "",
            f"  try       {command}",
            "",
            "  stop      Ctrl-C",
            "",
        ]
    )
