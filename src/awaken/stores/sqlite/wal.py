"""Connections, and what keeps the write-ahead log short.

Commits append to the log; a checkpoint copies it back into the database file. None is made inside a
commit. A thread with its own connection makes passive ones, which wait for nobody, whenever about
`CHECKPOINT_PAGES` pages were written. They cannot start the log over while writing never pauses, so
it may grow on: past `MAX_WAL_BYTES` the writer itself pauses for a checkpoint that empties it.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import closing, suppress
from threading import Event, Thread
from typing import Final

from awaken.errors import StoreFault

log = logging.getLogger(__name__)

MEMORY: Final = ":memory:"
OLDEST_SQLITE: Final = (3, 35)
BUSY_MS: Final = 5_000
CHECKPOINT_PAGES: Final = 1_000
MAX_WAL_BYTES: Final = 64 * 1024 * 1024

# How long the writer waits for readers to leave the log; those of this process leave at once.
_TRUNCATE_BUSY_MS: Final = 100
# Python cannot ask SQLite how many pages a commit wrote, but how many rows changed: measured, half
# a page each in batches of 64 operations and three when alone. A wrong guess moves a checkpoint, no
# more.
_PAGES_PER_CHANGE: Final = 1


def refuse_old_sqlite(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> None:
    """Raises StoreFault: the SQLite of this Python lacks what the statements need."""
    if version < OLDEST_SQLITE:
        found, needed = (".".join(map(str, v)) for v in (version, OLDEST_SQLITE))
        raise StoreFault(
            "sqlite_too_old", f"SQLite {found} is too old: {needed} is needed", retryable=False
        )


def connect(path: str, *, reader: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode, for use by one thread at a time.

    Raises:
        StoreFault: the file cannot be in WAL mode (a network file system).
        sqlite3.Error: it cannot be opened.
    """
    connection = sqlite3.connect(
        path,
        timeout=BUSY_MS / 1000,
        isolation_level=None,
        check_same_thread=False,  # opened by one thread and used by another, never by two at once
        cached_statements=256,
    )
    try:
        _configure(connection, in_memory=path == MEMORY, reader=reader)
    except BaseException:
        connection.close()
        raise
    return connection


def _configure(connection: sqlite3.Connection, *, in_memory: bool, reader: bool) -> None:
    (mode,) = connection.execute("pragma journal_mode = wal").fetchone()
    if mode != "wal" and not in_memory:
        raise StoreFault(
            "store_without_wal", "the store's file system does not allow WAL", retryable=False
        )
    connection.execute("pragma synchronous = full")
    connection.execute("pragma wal_autocheckpoint = 0")
    connection.execute("pragma foreign_keys = off")
    connection.execute("pragma temp_store = memory")
    # Some builds overwrite all that is deleted, at the price of more pages written; this does it
    # where it costs none.
    connection.execute("pragma secure_delete = fast")
    connection.execute(f"pragma cache_size = {-8_000 if reader else -32_000}")
    if reader:
        connection.execute("pragma query_only = on")


class Checkpointer:
    """Keeps the log of one file short. `between` is called by the writer, the rest by its owner."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._wal = f"{path}-wal"
        self._seen = 0
        self._limit = MAX_WAL_BYTES
        self._wanted = Event()
        self._closing = False
        self._thread = Thread(target=self._run, name="awaken-sqlite-checkpoint", daemon=True)
        self._thread.start()

    def between(self, connection: sqlite3.Connection) -> None:
        """Look after the log between two transactions of `connection`."""
        changes = connection.total_changes
        if 0 <= (changes - self._seen) * _PAGES_PER_CHANGE < CHECKPOINT_PAGES:
            return
        self._seen = changes
        if self._wal_bytes() < self._limit:
            self._wanted.set()
        else:
            self._truncate(connection)

    def close(self) -> None:
        """Let the thread end."""
        self._closing = True
        self._wanted.set()

    def join(self) -> None:
        """Block until it has ended."""
        self._thread.join()

    def _run(self) -> None:
        try:
            with closing(connect(self._path)) as connection:
                while self._wanted.wait() and not self._closing:
                    self._wanted.clear()
                    self._checkpoint(connection, "passive")
        except (sqlite3.Error, StoreFault):
            log.exception("no more checkpoints but the writer's: the log may grow")

    def _truncate(self, connection: sqlite3.Connection) -> None:
        connection.execute(f"pragma busy_timeout = {_TRUNCATE_BUSY_MS}")
        self._checkpoint(connection, "truncate")
        connection.execute(f"pragma busy_timeout = {BUSY_MS}")
        # A reader that stays, of another process, must not make every later batch wait.
        self._limit = max(self._wal_bytes() * 2, MAX_WAL_BYTES)

    def _checkpoint(self, connection: sqlite3.Connection, mode: str) -> None:
        try:
            connection.execute(f"pragma wal_checkpoint({mode})").fetchall()
        except sqlite3.Error as error:  # nothing is lost: the log is as good as the file
            log.warning("checkpoint (%s) failed: %s", mode, error)

    def _wal_bytes(self) -> int:
        with suppress(OSError):
            return os.stat(self._wal).st_size
        return 0
