"""`awaken serve`: the server and a worker, in this process."""

from __future__ import annotations

import logging
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from awaken.cli.show import fail

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from awaken.registry.specs import AgentInCode
    from awaken.server.app import App
    from awaken.server.settings import Settings

log = logging.getLogger("awaken.server")

Target = Annotated[
    str | None,
    typer.Argument(
        metavar="[MODULE_OR_FILE[:ATTR]]", help="Where the agents are; without one, the demo."
    ),
]
Store = Annotated[str | None, typer.Option(help="sqlite:///path or sqlite://:memory:")]
DataDir = Annotated[Path | None, typer.Option(help="Where files are kept. (default ./awaken-data)")]
LogFormat = Annotated[str | None, typer.Option(help="text or json (default text)")]


def serve(
    target: Target = None,
    host: Annotated[
        str | None, typer.Option(help="The address to listen on. (default 127.0.0.1)")
    ] = None,
    port: Annotated[int | None, typer.Option(help="0 takes a free one. (default 8080)")] = None,
    store: Store = None,
    data_dir: DataDir = None,
    log_format: LogFormat = None,
    reload: Annotated[
        bool,
        typer.Option("--reload", help="For development: start anew when a Python file changes."),
    ] = False,
) -> None:
    """Run the server and a worker."""
    given = {
        "host": host,
        "port": port,
        "store": store,
        "data_dir": data_dir,
        "log_format": log_format,
    }
    settings = read_settings(**given)
    if reload:
        from awaken.cli.reload import serve_and_reload

        raise typer.Exit(serve_and_reload(target, settings, given))
    start(target, settings, _serve)


def read_settings(**given: Any) -> Settings:
    """The settings, those of the command line first; ends the command when one is wrong."""
    from awaken.server.settings import SettingsError, load_settings

    try:
        return load_settings(os.environ, Path.cwd(), given)
    except SettingsError as error:
        fail(str(error))


def start(
    target: str | None,
    settings: Settings,
    run: Callable[[App, str | None], None],
    *,
    in_use: str = "Stop that process, or use another --data-dir",
) -> None:
    """Run an application; whatever keeps it from starting ends the command with what to do.

    `in_use` is that when another process has the store.
    """
    from awaken.errors import StoreFault
    from awaken.registry.specs import AgentError
    from awaken.server import serving
    from awaken.server.app import create_app
    from awaken.server.loading import LoadError
    from awaken.server.logs import set_up_logging
    from awaken.server.settings import SettingsError

    set_up_logging(settings.log_format, settings.log_level)
    try:
        app = create_app(load(target, settings), settings)
        run(app, target)
    except (LoadError, AgentError, SettingsError, serving.AddressError) as error:
        fail(str(error))
    except StoreFault as fault:
        fail(store_trouble(fault, settings, in_use))


def load(target: str | None, settings: Settings) -> list[AgentInCode]:
    """The agents of `target`, or those of the demo.

    Raises:
        LoadError: as `load_agents`.
    """
    if target is None:
        from awaken import demo

        with suppress(OSError):  # whoever needs the directory says what is wrong with it
            settings.data_dir.mkdir(parents=True, exist_ok=True)
        return [*demo.make_agents(data_dir=settings.data_dir)]
    from awaken.server.loading import load_agents

    return load_agents(target)


def store_trouble(fault: Exception, settings: Settings, in_use: str = "") -> str:
    """Why the store cannot be opened, and what to do."""
    match getattr(fault, "code", ""):
        case "store_in_use":
            return f"{fault}. {in_use}".rstrip(" .")
        case "schema_too_new":
            return f"{fault}. Install the version that wrote it, or use another --data-dir"
        case _:
            return f"the store {settings.store_told} cannot be opened: {fault}"


def _serve(app: App, target: str | None) -> None:
    from awaken.server import serving

    bound = serving.listener(app.settings)
    serving.run(app, bound, lambda: _announce(app, bound, target))


def _announce(app: App, bound: socket.socket, target: str | None) -> None:
    """Tell people, or the log, that requests are answered."""
    from awaken.server.serving import address

    names = [spec.agent_id for spec in app.registry.agents("")]
    told = app.settings.store_told
    if app.settings.log_format == "json":
        log_start("serving", {"address": address(bound), "store": told, "agents": names})
        return
    reach = app.settings.reach
    typer.echo(start_text(address(bound), told, names, demo=target is None, reach=reach))


def log_start(message: str, facts: Mapping[str, object]) -> None:
    """The line of the log by which programs know that it works."""
    log.info(message, extra=facts)


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
