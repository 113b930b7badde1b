"""A process that executes runs and answers no requests: the application without its HTTP side."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable

import anyio

from awaken.server.app import App
from awaken.server.security_redaction import known_secrets, protect
from awaken.server.serving import calm_garbage_collection, leave_nothing, obey_signals


def run(app: App, announce: Callable[[], None]) -> None:
    """Work until a signal, then drain; `announce` is called when runs may be claimed.

    Raises:
        SettingsError, StoreFault: the store cannot be opened.
    """
    for handler in logging.getLogger().handlers:
        protect(handler, known_secrets(app.settings, os.environ))
    loop = {"use_uvloop": sys.platform != "win32"}
    anyio.run(_work, app, announce, backend_options=loop)


async def _work(app: App, announce: Callable[[], None]) -> None:
    stopped = anyio.Event()

    async def stop() -> None:
        await app.drain()
        stopped.set()

    async with app.lifespan(), anyio.create_task_group() as tasks:
        calm_garbage_collection()
        await tasks.start(obey_signals, stop)
        announce()
        await stopped.wait()
        tasks.cancel_scope.cancel()
    leave_nothing()
