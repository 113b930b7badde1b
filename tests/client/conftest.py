"""A client of an application behind a real socket, in the test's own loop."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from awaken import demo
from awaken.client import Client
from awaken.server.app import create_app
from awaken.server.settings import Settings
from tests.server.live import Live, serving


@pytest.fixture
async def live() -> AsyncIterator[Live]:
    app = create_app(demo.make_agents(), Settings(store="sqlite://:memory:", drain_seconds=0))
    async with app.lifespan(), serving(app) as live:
        yield live


@pytest.fixture
async def client(live: Live) -> AsyncIterator[Client]:
    async with Client(live.base_url, give_up_seconds=5) as client:
        yield client
