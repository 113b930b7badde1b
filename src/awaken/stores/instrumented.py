"""Timing of every call of a store, reported to a callback."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Literal, TypeVar

from awaken.domain.dispatch import Refused
from awaken.errors import Refusal, RequestError
from awaken.ports.clock import Clock
from awaken.ports.store import Operation, Store
from awaken.stores.wrapper import StoreWrapper

T = TypeVar("T")

Result = Literal["ok", "refused", "error"]
Report = Callable[[str, Result, float], None]
"""Called with the name of the call, what became of it, and how many seconds it took."""


class InstrumentedStore(StoreWrapper):
    """`inner`, with a report of each call once it has ended; one that is cancelled is not reported.

    An operation is named by its `__name__`, or by that of the function that it is a `partial` of.
    It is refused when it answers or raises a refusal, and in error when it raises anything else.
    """

    def __init__(self, inner: Store, report: Report, clock: Clock) -> None:
        super().__init__(inner)
        self._report = report
        self._clock = clock

    async def _write(self, operation: Operation[T]) -> T:
        async def write() -> T:
            return await self.inner.transact(operation)

        return await self._call(name_of(operation), write)

    async def _call(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        began = self._clock.monotonic()
        try:
            answer = await call()
        except (Refusal, RequestError):
            self._ended(name, "refused", began)
            raise
        except Exception:
            self._ended(name, "error", began)
            raise
        self._ended(name, "refused" if isinstance(answer, Refused) else "ok", began)
        return answer

    def _ended(self, name: str, result: Result, began: float) -> None:
        self._report(name, result, self._clock.monotonic() - began)


def name_of(operation: Operation[Any]) -> str:
    """What an operation is called in metrics and logs."""
    function = operation.func if isinstance(operation, partial) else operation
    return getattr(function, "__name__", type(function).__name__)
