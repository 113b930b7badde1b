"""Stores to test with: in a file and in memory, on a clock that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from awaken.stores.sqlite import SqliteStore
from awaken.testing.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture(params=["file", "memory"])
async def store(
    request: pytest.FixtureRequest, path: Path, clock: FakeClock
) -> AsyncIterator[SqliteStore]:
    where = path if request.param == "file" else ":memory:"
    store = await SqliteStore.open(where, clock=clock, worker_id="worker-1")
    yield store
    await store.aclose()


@pytest.fixture
async def file_store(path: Path, clock: FakeClock) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(path, clock=clock, worker_id="worker-1")
    yield store
    await store.aclose()
