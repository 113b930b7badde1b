"""What a SQLite file holds of a thread, whatever the store says; and spoiling it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import anyio.to_thread

WITHOUT_THREADS: Final = {
    "dispatch_counts",
    "resolutions",
    "probe",
    "notes",  # name a thread in passing, and expire within a day
    "schedules",  # objects of their own, which may begin a thread again
    "approval_rules",  # decisions of a tenant about tools, whatever the thread
    "outbox",  # what others are still to be told, that a run was stopped too; then it goes
}
"""Tables whose rows are of no thread."""


def _rows_of(path: Path, thread_id: str) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute(
            "select name from sqlite_master where type = 'table' and name not like 'sqlite_%'"
        ).fetchall()
        found = {}
        for (table,) in tables:
            if table in WITHOUT_THREADS:
                continue
            columns = connection.execute(f"pragma table_info({table})").fetchall()
            assert "thread_id" in [name for _, name, *_ in columns], f"whose are rows of {table}?"
            (found[table],) = connection.execute(
                f"select count(*) from {table} where thread_id = ?", (thread_id,)
            ).fetchone()
        (found["resolutions"],) = connection.execute("select count(*) from resolutions").fetchone()
        return found


async def rows_of(path: Path, thread_id: str = "t") -> dict[str, int]:
    """How many rows of each table are the thread's, and how many specifications there are at all.

    A table that has no thread, and is not known to need none, makes this fail.
    """
    return await anyio.to_thread.run_sync(_rows_of, path, thread_id)


async def nothing_left(path: Path, thread_id: str = "t") -> None:
    """No row of the thread is anywhere; no other thread may need a specification."""
    left = {table: n for table, n in (await rows_of(path, thread_id)).items() if n}
    assert left == {}


def _execute(path: Path, statement: str, *parameters: object) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        changed = connection.execute(statement, parameters).rowcount
        assert changed == 1, statement


async def spoil(path: Path, table: str, key: str, identifier: str) -> None:
    """Make the record of one row unreadable."""
    statement = f"update {table} set data = '{{' where {key} = ?"
    await anyio.to_thread.run_sync(_execute, path, statement, identifier)
