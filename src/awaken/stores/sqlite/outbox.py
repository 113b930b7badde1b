"""Messages to others: their parts of the transaction and of the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TypeVar

from awaken.domain.outgoing import Outgoing
from awaken.ports.clock import Clock
from awaken.stores import codec
from awaken.stores.sqlite import outbox_statements as sql
from awaken.stores.sqlite.reader import Read, snapshot

T = TypeVar("T")


class OutboxRows:
    """`ports.outbox.OutboxRows`, over what `SqliteTransaction` has."""

    __slots__ = ()

    _cursor: sqlite3.Cursor
    _write: Callable[[str, tuple[object, ...]], None]

    async def outgoing(self, tenant: str, message_id: str) -> Outgoing | None:
        row = self._cursor.execute(sql.OUTGOING, (tenant, message_id)).fetchone()
        return codec.OUTGOING.decode(row[0], message_id, tenant) if row else None

    def put_outgoing(self, outgoing: Outgoing) -> None:
        key = (outgoing.tenant, outgoing.message_id)
        data = codec.encode(outgoing)
        self._write(sql.PUT_OUTGOING, (*key, outgoing.due_at, outgoing.given_up, data))

    def delete_outgoing(self, tenant: str, message_id: str) -> None:
        self._write(sql.DELETE_OUTGOING, (tenant, message_id))


class OutboxOfStore:
    """`ports.outbox.OutboxOfStore`, over what `SqliteStore` has."""

    _clock: Clock

    async def _read(self, read: Read[T]) -> T:
        raise AssertionError("the store reads")

    async def due_outgoing(self, limit: int) -> list[tuple[str, str]]:
        parameters = (self._clock.now(), limit)

        def read(cursor: sqlite3.Cursor) -> list[tuple[str, str]]:
            return cursor.execute(sql.DUE_OUTGOING, parameters).fetchall()

        return await self._read(read)

    async def next_outgoing_at(self) -> int | None:
        def read(cursor: sqlite3.Cursor) -> int | None:
            (at,) = cursor.execute(sql.NEXT_OUTGOING_AT).fetchone()
            return None if at is None else int(at)

        return await self._read(read)

    async def outgoing_counts(self, limit: int) -> tuple[int, int]:
        def read(cursor: sqlite3.Cursor) -> tuple[int, int]:
            with snapshot(cursor):
                counts = [
                    cursor.execute(sql.COUNT_OUTGOING, (given_up, limit)).fetchone()[0]
                    for given_up in (0, 1)
                ]
            return counts[0], counts[1]

        return await self._read(read)
