"""Reads beside the writer: a few threads, each with a connection of its own.

A read selects and decodes on its thread, all at once. Nothing of a statement outlives it: an open
one would hold its snapshot, and the log could not be emptied.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Any, Final, TypeVar, cast

from awaken.stores.sqlite import faults
from awaken.stores.sqlite.jobs import Inbox

T = TypeVar("T")

THREADS: Final = 2

Read = Callable[[sqlite3.Cursor], T]


@contextmanager
def snapshot(cursor: sqlite3.Cursor) -> Iterator[None]:
    """All statements inside see the same commits."""
    if cursor.connection.in_transaction:  # in memory, reads run as operations
        yield
        return
    cursor.execute("begin")
    try:
        yield
    finally:
        cursor.execute("rollback")


class Readers:
    """Runs reads; `run` may be called on any event loop."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._inbox: Inbox[Read[Any]] = Inbox()
        self._threads = [
            Thread(target=self._run, name=f"awaken-sqlite-reader-{n}", daemon=True)
            for n in range(1, THREADS + 1)
        ]
        for thread in self._threads:
            thread.start()

    async def run(self, read: Read[T]) -> T:
        """The answer of `read`, on a snapshot taken after this call."""
        return cast(T, await self._inbox.do(read))

    def close(self) -> None:
        """Let the threads end after what is queued."""
        self._inbox.close(threads=THREADS)

    def join(self) -> None:
        """Block until they have ended and their connections are closed."""
        for thread in self._threads:
            thread.join()
        self._inbox.refuse_rest()

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        while (job := self._inbox.get()) is not None:
            try:
                connection = connection or self._connect()
                job.succeed(job.work(connection.cursor()))
            except sqlite3.Error as error:
                job.fail(faults.for_caller(error))
                _drop(connection)
                connection = None
            except BaseException as error:  # noqa: BLE001 whatever it is, it belongs to the caller
                job.fail(error)
            job.settle()
        _drop(connection)


def _drop(connection: sqlite3.Connection | None) -> None:
    """Close, as far as that works: after an error the next read gets another connection."""
    if connection is not None:
        with suppress(sqlite3.Error):
            connection.close()
