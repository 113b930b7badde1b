"""The composition root: agents and settings become an ASGI application."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from awaken import __version__
from awaken.ports.clock import Clock, Ids, SystemClock, SystemIds
from awaken.protocols.native.http.asgi import Receive, Scope, Send
from awaken.protocols.native.http.services import Services
from awaken.redaction import know
from awaken.registry.registry import Registry
from awaken.registry.specs import AgentInCode
from awaken.server.api import make_api
from awaken.server.auth.setup import make_security
from awaken.server.front import Front
from awaken.server.lifespan import drain, running
from awaken.server.metrics import Metrics
from awaken.server.security_redaction import known_secrets
from awaken.server.settings import Settings, load_settings


class App:
    """An ASGI application. It works only inside its lifespan.

    A server runs the lifespan by itself. Mounted in another application, whose server does not know
    of it, that application runs it: `FastAPI(lifespan=app.lifespan)`, then `mount("/awaken", app)`.
    """

    def __init__(
        self, registry: Registry, settings: Settings, clock: Clock, ids: Ids, metrics: Metrics
    ) -> None:
        self.settings = settings
        self.services: Services | None = None
        self.registry = registry
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self._security = make_security(settings, clock)
        self._http = Front(make_api(__version__), lambda: self.services, metrics, self._security)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "http":
                await self._http(scope, receive, send)
            case "lifespan":
                await self._obey_lifespan(receive, send)
            case "websocket":
                await send({"type": "websocket.close", "code": 1008})
            case other:
                raise AssertionError(f"unknown ASGI scope {other!r}")

    def lifespan(self, _: object = None) -> AbstractAsyncContextManager[None]:
        """Open the store, work, and on leaving drain and close; the argument is the host's own."""
        return self._lifespan()

    async def drain(self) -> None:
        """Refuse new work, let runs end, hand over the rest, end the streams."""
        if self.services is not None:
            await drain(self.services, self.settings)

    @asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[None]:
        assert self.services is None, "an application runs once at a time"
        try:
            async with running(
                self.registry, self.settings, self._clock, self._ids, self._metrics
            ) as services:
                services.store.listen(self._security.accounts.hear)
                self.services = replace(services, quota=self._security.accounts)
                yield
        finally:
            self.services = None

    async def _obey_lifespan(self, receive: Receive, send: Send) -> None:
        """The ASGI lifespan protocol; a start or an end that fails is told, then raised."""
        await receive()
        phase = "startup"
        try:
            async with self._lifespan():
                await send({"type": "lifespan.startup.complete"})
                phase = "shutdown"
                await receive()
            await send({"type": "lifespan.shutdown.complete"})
        except Exception as error:
            await send({"type": f"lifespan.{phase}.failed", "message": str(error)})
            raise


def create_app(
    agents: Iterable[AgentInCode],
    settings: Settings | None = None,
    *,
    clock: Clock | None = None,
    ids: Ids | None = None,
) -> App:
    """An application that serves `agents`; without `settings`, with those of the process.

    Raises:
        AgentError: an agent cannot be served as it is written.
        SettingsError: a setting is wrong, or a key.
    """
    clock, ids = clock or SystemClock(), ids or SystemIds()
    registry = Registry(agents, clock=clock, ids=ids)
    settings = settings or load_settings(os.environ, Path.cwd())
    know(known_secrets(settings, os.environ))  # so that no error of a tool tells them
    return App(registry, settings, clock, ids, Metrics(clock))
