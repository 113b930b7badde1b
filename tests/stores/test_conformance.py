"""The SQLite store keeps the contract of its port."""

from __future__ import annotations

import pytest

from awaken.ports.store import Store
from awaken.stores.instrumented import InstrumentedStore
from awaken.stores.sqlite import SqliteStore
from awaken.testing.clock import FakeClock
from awaken.testing.conformance import StoreCase, store_conformance
from awaken.testing.faulty import FaultyStore

pytestmark = pytest.mark.anyio

every_case = pytest.mark.parametrize("case", store_conformance, ids=lambda case: case.__name__)


async def conforms(case: StoreCase, store: Store, clock: FakeClock) -> None:
    async def pass_time(ms: int) -> None:
        clock.advance(ms / 1000)

    await case(store, pass_time)


@every_case
async def test_the_store_conforms(case: StoreCase, store: SqliteStore, clock: FakeClock) -> None:
    await conforms(case, store, clock)


@every_case
async def test_the_store_conforms_behind_its_wrappers(case: StoreCase, clock: FakeClock) -> None:
    inner = await SqliteStore.open(":memory:", clock=clock)
    store = InstrumentedStore(FaultyStore(inner), lambda *_: None, clock)
    await conforms(case, store, clock)
    await store.aclose()
