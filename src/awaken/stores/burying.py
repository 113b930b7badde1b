"""A store that sets aside the dispatch whose record stopped a call, and makes the call again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from awaken.errors import UndecodableRecord
from awaken.ports.store import Operation, Store
from awaken.stores.wrapper import StoreWrapper

T = TypeVar("T")

Bury = Callable[[str, str], Operation[bool]]
"""(tenant, dispatch id) → the operation that sets it aside; it answers whether that changed it."""

MAX_BURIED: Final = 100
"""How many rows one call may meet that cannot be read."""


class BuryingStore(StoreWrapper):
    """`inner`, where one dispatch that cannot be read does not stop what is about others too."""

    def __init__(self, inner: Store, bury: Bury) -> None:
        super().__init__(inner)
        self._bury = bury

    async def _write(self, operation: Operation[T]) -> T:
        return await self._again(lambda: self.inner.transact(operation))

    async def _call(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        return await self._again(call)

    async def _again(self, call: Callable[[], Awaitable[T]]) -> T:
        for _ in range(MAX_BURIED):
            try:
                return await call()
            except UndecodableRecord as error:
                if not await self._set_aside(error):
                    raise
        return await call()

    async def _set_aside(self, error: UndecodableRecord) -> bool:
        if error.kind != "dispatch" or error.tenant is None:
            return False
        return await self.inner.transact(self._bury(error.tenant, error.identifier))
