"""The one thread that writes, and its group commit.

Rules of this file
1. What is queued when the writer looks is one transaction, with each operation in its own
   savepoint. Nothing is answered before COMMIT has returned.
2. An operation that raises is undone alone, and answered with its exception.
3. Some errors (full disk, failed I/O, no memory) make SQLite roll back the whole transaction,
   released savepoints included. Then all operations of the batch are run again, each in its own
   transaction. The same is done when COMMIT finds the disk full: what is small may still fit.
4. After any other error of COMMIT its outcome is unknown. All operations of the batch are told so,
   and the connection, whose state is unknown too, is replaced.
5. Answers travel in one callback on the event loop of the store. It delivers the hints of the whole
   batch, in commit order, before it answers anybody.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from threading import Event, Thread
from typing import Any, Final, TypeVar, cast

from awaken.errors import StoreFault
from awaken.ports.clock import Clock
from awaken.ports.hints import HintListener
from awaken.stores.sqlite import faults
from awaken.stores.sqlite.jobs import Inbox, Job
from awaken.stores.sqlite.transaction import SqliteTransaction

T = TypeVar("T")

MAX_OPERATIONS: Final = 128
MAX_BYTES: Final = 4 * 1024 * 1024

Operation = Callable[[SqliteTransaction], Awaitable[T]]
Jobs = Sequence[Job[Operation[Any]]]


class _RolledBack(Exception):
    """Nothing of the transaction is committed; `error` is why."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class Writer:
    """Runs operations; `submit` may be called on any event loop, all else on the one that made it.

    Args:
        connection: what to write with; the writer closes it.
        connect: opens another in its place; None when its data would be lost (`:memory:`).
        clock: the store's clock.
        between: called on the writer's thread after each batch, with the connection.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        connect: Callable[[], sqlite3.Connection] | None,
        clock: Clock,
        between: Callable[[sqlite3.Connection], None],
    ) -> None:
        self._connection: sqlite3.Connection | None = connection
        self._cursor = connection.cursor()
        self._connect = connect
        self._clock = clock
        self._between = between
        self._home = asyncio.get_running_loop()
        self._listeners: list[HintListener] = []
        self._inbox: Inbox[Operation[Any]] = Inbox()
        self._abandoned = Event()
        self._thread = Thread(target=self._run, name="awaken-sqlite-writer", daemon=True)
        self._thread.start()

    def listen(self, listener: HintListener) -> None:
        self._listeners.append(listener)

    async def submit(self, operation: Operation[T]) -> T:
        """Run `operation` and commit. Cancelling the wait does not take the operation back."""
        return cast(T, await self._inbox.do(operation))

    def close(self, *, abandon: bool = False) -> None:
        """Let the thread end: after what is queued or, like a crash, before its next COMMIT."""
        if abandon:
            self._abandoned.set()
        self._inbox.close(threads=1)

    def join(self) -> None:
        """Block until the thread has ended and its connection is closed."""
        self._thread.join()

    # --- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while (job := self._inbox.get()) is not None:
                self._work([job, *self._inbox.get_waiting(MAX_OPERATIONS - 1)])
                if self._connection is not None:
                    self._between(self._connection)
        finally:
            self._disconnect()
            self._inbox.refuse_rest()

    def _work(self, jobs: Jobs) -> None:
        while jobs:
            done = self._commit(jobs)
            self._deliver(jobs[:done])
            jobs = jobs[done:]

    def _commit(self, jobs: Jobs) -> int:
        """Bring `jobs` to an answer, from the first on; how many of them have one now."""
        try:
            return self._transaction(jobs)
        except _RolledBack as gone:
            if len(jobs) == 1:
                jobs[0].fail(faults.for_caller(gone.error))
            else:
                for job in jobs:
                    self._commit([job])
            return len(jobs)

    def _transaction(self, jobs: Jobs) -> int:
        if self._abandoned.is_set():
            return _fail(jobs, faults.closed)
        try:
            self._begin()
        except (sqlite3.Error, StoreFault) as error:
            self._start_afresh()
            return _fail(jobs, partial(faults.for_caller, error))
        done = self._attempt_all(jobs)
        try:
            if self._abandoned.is_set():
                self._cursor.execute("rollback")
                return _fail(jobs, faults.closed)
            self._cursor.execute("commit")
        except sqlite3.Error as error:
            self._start_afresh()
            if faults.is_full(error) and len(jobs) > 1:
                raise _RolledBack(error) from error
            return _fail(jobs[:done], partial(faults.of_commit, error))
        return done

    def _begin(self) -> None:
        if self._connection is None:
            assert self._connect is not None, "only what can be opened again was closed"
            self._connection = self._connect()
            self._cursor = self._connection.cursor()
        self._cursor.execute("begin immediate")

    def _attempt_all(self, jobs: Jobs) -> int:
        """Run operations until the transaction is big enough; how many were run."""
        size = 0
        for done, job in enumerate(jobs, start=1):
            size += self._attempt(job)
            if size >= MAX_BYTES:
                return done
        return len(jobs)

    def _attempt(self, job: Job[Operation[Any]]) -> int:
        """Run one operation; how much data it wrote."""
        tx = SqliteTransaction(self._cursor, self._clock.now())
        try:
            answer = drive(job.work, tx)
            tx.finish()
        except BaseException as error:  # noqa: BLE001 whatever it is, it belongs to the caller
            self._undo(tx, error)
            job.fail(faults.for_caller(error))
            return 0
        if not self._cursor.connection.in_transaction:
            # The operation made light of an error that had ended the transaction of all.
            raise _RolledBack(sqlite3.OperationalError("the transaction is gone"))
        job.succeed(answer, tx.hints)
        return tx.bound_bytes

    def _undo(self, tx: SqliteTransaction, error: BaseException) -> None:
        """Undo one operation, unless SQLite has already undone them all."""
        if not self._cursor.connection.in_transaction:
            raise _RolledBack(error) from error
        try:
            tx.undo()
        except sqlite3.Error as worse:
            self._start_afresh()
            raise _RolledBack(worse) from worse

    def _start_afresh(self) -> None:
        """Roll back, and let the next transaction open a new connection if there can be one."""
        if self._connect is not None:
            self._disconnect()
        else:
            with suppress(sqlite3.Error):
                self._cursor.connection.rollback()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.rollback()
            self._cursor.close()
            with suppress(sqlite3.Error):
                connection.close()

    # --- answers -----------------------------------------------------------------------------

    def _deliver(self, jobs: Jobs) -> None:
        try:
            self._home.call_soon_threadsafe(self._answer, jobs)
        except RuntimeError:  # the store's loop is closed; those of other loops may still wait
            for job in jobs:
                job.settle()

    def _answer(self, jobs: Jobs) -> None:
        hints = [hint for job in jobs for hint in job.hints]
        try:
            for listener in self._listeners if hints else ():
                listener(hints)
        finally:
            for job in jobs:
                job.settle(self._home)


def drive(operation: Operation[T], tx: SqliteTransaction) -> T:
    """The answer of `operation`, which comes in one step: nothing in `tx` suspends."""
    steps = operation(tx).__await__()
    try:
        steps.send(None)
    except StopIteration as end:
        return cast(T, end.value)
    steps.close()
    raise AssertionError("an operation waits for nothing but its transaction")


def _fail(jobs: Jobs, make: Callable[[], BaseException]) -> int:
    for job in jobs:
        job.fail(make())
    return len(jobs)
