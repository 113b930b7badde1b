"""A connection whose statements fail where a test wants it, and a writer that is kept busy."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from awaken.errors import StoreFault
from awaken.ports.clock import Clock
from awaken.ports.store import Transaction
from awaken.stores.sqlite import SqliteStore
from awaken.stores.sqlite.migrate import migrate

SECRET = "/secret/path: select * from secrets"


def sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(SECRET)
    error.sqlite_errorcode = code
    return error


class Plan:
    """Which statement fails, and how; what was executed is in `seen`, by its first word."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._statement = ""
        self._left = 0
        self._code = 0
        self._rolls_back = False
        self._after = False

    def fail(
        self,
        statement: str,
        code: int,
        *,
        nth: int = 1,
        rolls_back: bool = False,
        after: bool = False,
    ) -> None:
        """Let the nth execution from now on of what starts with `statement` fail.

        With `rolls_back` SQLite ends the whole transaction, with `after` it was carried out first.
        """
        self._statement, self._left, self._code = statement, nth, code
        self._rolls_back, self._after = rolls_back, after

    def execute(self, cursor: sqlite3.Cursor, statement: str, execute: Callable[[], Any]) -> None:
        words = statement.split()
        self.seen.append("undo" if words[:2] == ["rollback", "to"] else words[0])
        if self._left and " ".join(words).startswith(self._statement):
            self._left -= 1
            if not self._left:
                self._break(cursor, execute)
        execute()

    def _break(self, cursor: sqlite3.Cursor, execute: Callable[[], Any]) -> None:
        if self._after:
            execute()
        if self._rolls_back:
            cursor.connection.rollback()
        raise sqlite_error(self._code)

    def transactions(self) -> list[str]:
        """The ends of all transactions so far."""
        return [word for word in self.seen if word in ("commit", "rollback")]


class PlannedCursor(sqlite3.Cursor):
    plan: Plan

    def execute(self, statement: str, parameters: Any = (), /) -> PlannedCursor:
        execute = super().execute
        self.plan.execute(self, statement, lambda: execute(statement, parameters))
        return self


class PlannedConnection(sqlite3.Connection):
    plan = Plan()

    def cursor(self, *_: Any) -> PlannedCursor:  # type: ignore[override]  # one kind of cursor only
        cursor = super().cursor(PlannedCursor)
        cursor.plan = self.plan
        return cursor


async def planned_store(path: Path, clock: Clock, plan: Plan) -> SqliteStore:
    """A store whose first writing connection follows `plan`; one that replaces it does not."""
    connection = await anyio.to_thread.run_sync(_connect, path)
    connection.plan = plan
    return SqliteStore(str(path), connection, None, clock, "worker-1")


def _connect(path: Path) -> PlannedConnection:
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, factory=PlannedConnection
    )
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = off")
    migrate(connection)
    return connection


@asynccontextmanager
async def held(store: SqliteStore) -> AsyncIterator[None]:
    """Keep the writer busy until all that is submitted inside waits in its queue."""
    began, go_on = threading.Event(), threading.Event()

    async def hold(_: Transaction) -> None:
        began.set()
        assert go_on.wait(5)

    async def keep_busy() -> None:
        with suppress(StoreFault):  # it may be the one that is given up
            await store.transact(hold)

    async with anyio.create_task_group() as group:
        group.start_soon(keep_busy)
        await anyio.to_thread.run_sync(began.wait)
        try:
            yield
            await anyio.wait_all_tasks_blocked()
        finally:
            go_on.set()
