from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from awaken.domain.claim import Claim
from awaken.streams.hub import Hub
from awaken.testing.clock import FakeClock
from tests.streams.support import ProbedStore, claimed


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(clock: FakeClock) -> AsyncIterator[ProbedStore]:
    store = await ProbedStore.open(":memory:", clock=clock)
    assert isinstance(store, ProbedStore)
    yield store
    await store.aclose()


@pytest.fixture
def hub(store: ProbedStore, clock: FakeClock) -> Hub:
    """A hub that hears of every commit."""
    hub = Hub(store, clock)
    store.listen(hub.deliver)
    return hub


@pytest.fixture
def deaf_hub(store: ProbedStore, clock: FakeClock) -> Hub:
    """A hub that hears only what a test tells it."""
    return Hub(store, clock)


@pytest.fixture
async def claim(store: ProbedStore) -> Claim:
    return await claimed(store)
