"""An application in the test's own event loop, over a store in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from awaken import demo
from awaken.server.app import App, create_app
from awaken.server.settings import Settings
from tests.server.live import Live, serving

BASE = "http://127.0.0.1:8080"


@pytest.fixture
def settings() -> Settings:
    return Settings(store="sqlite://:memory:", drain_seconds=0)


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[App]:
    """The application with the demo agents, running."""
    app = create_app(demo.make_agents(), settings)
    async with app.lifespan():
        yield app


@pytest.fixture
async def client(app: App) -> AsyncIterator[httpx.AsyncClient]:
    """A client of it, without a socket; streams are answered when they have ended."""
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url=BASE, timeout=10) as client:
        yield client


@pytest.fixture
async def live(app: App) -> AsyncIterator[Live]:
    """The application behind a real socket."""
    async with serving(app) as live:
        yield live
