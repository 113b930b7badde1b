"""`awaken worker`: executes runs, and answers no requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from awaken.cli.serve import DataDir, LogFormat, Store, Target, log_start, read_settings, start

if TYPE_CHECKING:
    from awaken.server.app import App


_IN_USE = (
    "A server there executes its runs itself and needs no worker; for more than one process the "
    "store has to be PostgreSQL"
)


def worker(
    target: Target = None,
    store: Store = None,
    data_dir: DataDir = None,
    log_format: LogFormat = None,
) -> None:
    """Execute runs, without serving HTTP.

    SIGTERM or Ctrl-C drains it. A SQLite file has one process: where a server runs on it, that
    executes its runs itself.
    """
    settings = read_settings(store=store, data_dir=data_dir, log_format=log_format)
    start(target, settings, _work, in_use=_IN_USE)


def _work(app: App, target: str | None) -> None:
    from awaken.server.working import run

    run(app, lambda: _announce(app, target))


def _announce(app: App, target: str | None) -> None:
    from awaken import __version__

    assert app.services is not None, "it runs"
    names = [spec.agent_id for spec in app.registry.agents("")]
    worker_id, told = app.services.mailbox.statistics().worker_id, app.settings.store_told
    if app.settings.log_format == "json":
        log_start("working", {"worker_id": worker_id, "store": told, "agents": names})
        return
    demo = "  (the demo)" if target is None else ""
    typer.echo(f"Awaken {__version__}: worker {worker_id} executes runs; Ctrl-C stops it")
    typer.echo(f"  store     {told}")
    typer.echo(f"  agents    {', '.join(names)}{demo}")
