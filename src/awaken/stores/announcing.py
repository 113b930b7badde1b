"""A store that writes what others are to be told in the commit that makes it true.

Whatever appends to a log goes through `Transaction.append`: there, and nowhere else, a ticket that
is opened and a run that ends are turned into messages of the outbox.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

from awaken.domain.event import Segment
from awaken.domain.outgoing import announced
from awaken.ports.store import Operation, Transaction
from awaken.stores.instrumented import name_of
from awaken.stores.wrapper import StoreWrapper

T = TypeVar("T")


class AnnouncingStore(StoreWrapper):
    """`inner`, with an outbox that is filled."""

    async def _write(self, operation: Operation[T]) -> T:
        async def announcing(tx: Transaction) -> T:
            return await operation(cast(Transaction, _Announcing(tx)))

        announcing.__name__ = name_of(operation)
        return await self.inner.transact(announcing)


class _Announcing:
    """`tx`, but what is appended is looked at."""

    __slots__ = ("_tx",)

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    def append(self, segment: Segment) -> None:
        self._tx.append(segment)
        for outgoing in announced(segment):
            self._tx.put_outgoing(outgoing)
