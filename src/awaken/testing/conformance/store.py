"""What every `ports.store.Store` must keep, as functions over an empty one.

    @pytest.mark.parametrize("case", store_conformance, ids=lambda case: case.__name__)
    async def test_my_store_conforms(case: StoreCase) -> None:
        async with open_my_store() as store:
            await case(store, pass_time)

`pass_time(ms)` lets that much time pass on the store's clock: it advances a fake one, and sleeps
for the database's own. A case fails by an AssertionError, and its docstring says what was to be
kept; `pytest.register_assert_rewrite("awaken.testing.conformance")` shows what was found instead.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from awaken.ports.store import Store
from awaken.testing.conformance import (
    care,
    keeping,
    operations,
    outbox,
    queue,
    reading,
    rules,
    schedules,
    traffic,
)
from awaken.testing.conformance._records import PassTime

StoreCase = Callable[[Store, PassTime], Awaitable[None]]

store_conformance: Final[tuple[StoreCase, ...]] = (
    *operations.CASES,
    *queue.CASES,
    *reading.CASES,
    *care.CASES,
    *keeping.CASES,
    *traffic.CASES,
    *schedules.CASES,
    *outbox.CASES,
    *rules.CASES,
)
"""All cases. Each wants a store of its own, empty."""
