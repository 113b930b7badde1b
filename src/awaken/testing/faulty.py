"""A store that fails where a test wants it to.

Faults by enumeration: run a scenario with the 1st call failing, then the 2nd, and so on, until it
ends with fewer calls than that. Every way the store can fail under the scenario has then been seen.

    for n in itertools.count(1):
        store = FaultyStore(await new_store(), Fault.lost_reply, nth=n)
        await scenario(store)
        if not store.failed:
            break
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import StrEnum
from typing import TypeVar

from awaken.errors import StoreFault
from awaken.ports.store import Operation, Store, Transaction
from awaken.stores.wrapper import StoreWrapper

T = TypeVar("T")


class Fault(StrEnum):
    """How a call fails.

    before: nothing was tried, and the caller knows it.
    lost_reply: it was committed, its hints were delivered, and the caller cannot know.
    rolled_back: it ran to its end and was rolled back then, and the caller cannot know either.
    """

    before = "before"
    lost_reply = "lost_reply"
    rolled_back = "rolled_back"


class _RollBack(Exception):
    """Makes the inner store roll an operation back."""


class FaultyStore(StoreWrapper):
    """`inner`, but its `nth` call fails, counted from 1.

    Args:
        inner: the store that does the work.
        fault: how the call fails. A read that fails has no effect in either case.
        nth: which call; 0 for none.
        persistent: whether all calls after that one fail too.
        reads: whether reads are counted, and fail, as well as `transact`. Care (`purge`, `compact`,
            `check` and `compactable`) counts as reading.

    Attributes:
        calls: how many calls were counted.
        failed: how many of them failed.
    """

    def __init__(
        self,
        inner: Store,
        fault: Fault = Fault.before,
        *,
        nth: int = 0,
        persistent: bool = False,
        reads: bool = False,
    ) -> None:
        super().__init__(inner)
        self.fault = fault
        self.nth = nth
        self.persistent = persistent
        self.reads = reads
        self.calls = 0
        self.failed = 0

    def heal(self) -> None:
        """Let no further call fail."""
        self.nth = 0

    async def _write(self, operation: Operation[T]) -> T:
        if not self._fails():
            return await self.inner.transact(operation)
        if self.fault is Fault.lost_reply:
            await self.inner.transact(operation)
        elif self.fault is Fault.rolled_back:
            await self._run_and_roll_back(operation)
        raise self._made()

    async def _call(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        if self.reads and self._fails():
            raise self._made()
        return await call()

    def _fails(self) -> bool:
        self.calls += 1
        fails = self.nth > 0 and (
            self.calls >= self.nth if self.persistent else self.calls == self.nth
        )
        self.failed += fails
        return fails

    def _made(self) -> StoreFault:
        unknown = self.fault is not Fault.before
        code = "commit_unknown" if unknown else "store_io"
        return StoreFault(code, f"injected: {self.fault}", retryable=True, unknown=unknown)

    async def _run_and_roll_back(self, operation: Operation[T]) -> None:
        async def run(tx: Transaction) -> None:
            await operation(tx)
            raise _RollBack

        with suppress(_RollBack):
            await self.inner.transact(run)
