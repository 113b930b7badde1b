"""Schedules: their parts of the transaction and of the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TypeVar

from awaken.domain.schedule import Schedule
from awaken.ports.clock import Clock
from awaken.ports.store import Page
from awaken.stores import codec, pages
from awaken.stores.sqlite import queries
from awaken.stores.sqlite import schedule_statements as sql
from awaken.stores.sqlite.reader import Read

T = TypeVar("T")


class ScheduleRows:
    """`ports.schedules.ScheduleRows`, over what `SqliteTransaction` has."""

    __slots__ = ()

    _cursor: sqlite3.Cursor
    _write: Callable[[str, tuple[object, ...]], None]

    async def schedule(self, tenant: str, schedule_id: str) -> Schedule | None:
        row = self._cursor.execute(sql.SCHEDULE, (tenant, schedule_id)).fetchone()
        return codec.SCHEDULE.decode(row[0], schedule_id, tenant) if row else None

    def put_schedule(self, schedule: Schedule) -> None:
        key = (schedule.tenant, schedule.schedule_id)
        data = codec.encode(schedule)
        self._write(sql.PUT_SCHEDULE, (*key, schedule.created_at, schedule.next_at, data))

    async def delete_schedule(self, tenant: str, schedule_id: str) -> bool:
        self._write(sql.DELETE_SCHEDULE, (tenant, schedule_id))
        return self._cursor.rowcount > 0

    def bury_schedule(self, tenant: str, schedule_id: str) -> None:
        self._write(sql.BURY_SCHEDULE, (tenant, schedule_id))


class SchedulesOfStore:
    """`ports.schedules.SchedulesOfStore`, over what `SqliteStore` has."""

    _clock: Clock

    async def _read(self, read: Read[T]) -> T:
        raise AssertionError("the store reads")

    async def schedule(self, tenant: str, schedule_id: str) -> Schedule | None:
        read = queries.one(sql.SCHEDULE, codec.SCHEDULE, tenant, schedule_id)
        return await self._read(read)

    async def schedules(self, tenant: str, limit: int, key: str | None) -> Page:
        scope = pages.scope("schedules", tenant)
        schedule_id, created_at = queries.start(scope, key)
        parameters: dict[str, object] = {
            "tenant": tenant,
            "schedule_id": schedule_id,
            "created_at": created_at,
        }
        read = queries.page(sql.SCHEDULES, codec.SCHEDULE, parameters, limit, scope)
        return await self._read(read)

    async def due_schedules(self, limit: int) -> list[tuple[str, str]]:
        parameters = (self._clock.now(), limit)

        def read(cursor: sqlite3.Cursor) -> list[tuple[str, str]]:
            return cursor.execute(sql.DUE_SCHEDULES, parameters).fetchall()

        return await self._read(read)
