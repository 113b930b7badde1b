"""`SqliteStore`: the parts of this package, put together as a `ports.store.Store`."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final, TypeVar

import anyio
import anyio.to_thread

from awaken.domain.delivery import PendingEntry
from awaken.domain.dispatch import Dispatch
from awaken.domain.event import Segment
from awaken.domain.run import Run
from awaken.domain.thread import Thread, ThreadHead
from awaken.domain.ticket import Ticket
from awaken.ports.clock import Clock, SystemClock, SystemIds
from awaken.ports.hints import HintListener
from awaken.ports.store import (
    Checkpoint,
    DispatchCounts,
    MessageFilter,
    Operation,
    Page,
    RunFilter,
    TicketFilter,
)
from awaken.ports.symptoms import Symptoms
from awaken.stores import codec
from awaken.stores.sqlite import faults, queries, wal
from awaken.stores.sqlite import statements as sql
from awaken.stores.sqlite.care import CareOfStore
from awaken.stores.sqlite.lock import FileLock, Holder
from awaken.stores.sqlite.migrate import migrate
from awaken.stores.sqlite.outbox import OutboxOfStore
from awaken.stores.sqlite.reader import Read, Readers
from awaken.stores.sqlite.rules import RulesOfStore
from awaken.stores.sqlite.schedules import SchedulesOfStore
from awaken.stores.sqlite.symptoms import symptoms
from awaken.stores.sqlite.transaction import SqliteTransaction
from awaken.stores.sqlite.writer import Writer

T = TypeVar("T")

COMPACTION_SLICE: Final = 2_000
"""Log numbers that one operation of a compaction covers at least."""


class SqliteStore(CareOfStore, SchedulesOfStore, OutboxOfStore, RulesOfStore):
    """A `ports.store.Store` in one file, or in memory. Made by `open`, let go by `aclose`.

    It belongs to the event loop it was opened on: hints are delivered there. Its methods may be
    awaited on any.
    """

    shared: Final = False
    """No other process writes: the lock sees to it."""

    def __init__(
        self,
        path: str,
        connection: sqlite3.Connection,
        lock: FileLock | None,
        clock: Clock,
        worker_id: str,
    ) -> None:
        self.worker_id: Final = worker_id
        self._clock = clock
        self._lock = lock
        self._readers: Readers | None = None
        self._checkpointer: wal.Checkpointer | None = None
        if path == wal.MEMORY:
            self._writer = Writer(connection, None, clock, lambda _: None)
        else:
            self._checkpointer = wal.Checkpointer(path)
            self._readers = Readers(partial(wal.connect, path, reader=True))
            self._writer = Writer(
                connection, partial(wal.connect, path), clock, self._checkpointer.between
            )

    @classmethod
    async def open(
        cls,
        path: str | os.PathLike[str],
        *,
        clock: Clock | None = None,
        worker_id: str | None = None,
        lock: bool = True,
    ) -> SqliteStore:
        """Open the file `path`, making it if there is none; `:memory:` is a store without a file.

        Args:
            clock: the store's clock; the machine's if None.
            worker_id: the name of this process's life, which no other life shares; a new id if
            None.
            lock: whether to take `<path>.lock`. Without it nobody keeps a second server away, and
                the claims of the dead cannot be known.

        Raises:
            StoreFault: another process has the file (`store_in_use`), a later version wrote it
                (`schema_too_new`), SQLite is too old (`sqlite_too_old`), or it cannot be opened.
        """
        wal.refuse_old_sqlite()
        name = os.fspath(path)
        clock = clock or SystemClock()
        worker_id = worker_id or SystemIds().new()
        holder = Holder(pid=os.getpid(), started_at=clock.now(), worker=worker_id) if lock else None
        connection, held = await anyio.to_thread.run_sync(_open_files, name, holder)
        return cls(name, connection, held, clock, worker_id)

    async def aclose(self) -> None:
        await self._end(abandon=False)

    async def abandon(self) -> None:
        """Let go of everything as a crash would: what is not committed is lost. For tests."""
        await self._end(abandon=True)

    async def _end(self, *, abandon: bool) -> None:
        self._writer.close(abandon=abandon)
        if self._readers is not None:
            self._readers.close()
        if self._checkpointer is not None:
            self._checkpointer.close()
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._join)

    def _join(self) -> None:
        self._writer.join()
        if self._readers is not None:
            self._readers.join()
        if self._checkpointer is not None:
            self._checkpointer.join()
        if self._lock is not None:
            self._lock.release()

    # --- operations ----------------------------------------------------------------------------

    def listen(self, listener: HintListener) -> None:
        self._writer.listen(listener)

    async def transact(self, operation: Operation[T]) -> T:
        return await self._writer.submit(operation)

    async def _read(self, read: Read[T]) -> T:
        if self._readers is not None:
            return await self._readers.run(read)

        async def as_operation(tx: SqliteTransaction) -> T:
            return tx.read(read)

        return await self._writer.submit(as_operation)

    async def _one(
        self, statement: str, kind: codec.Codec[T], tenant: str, identifier: str
    ) -> T | None:
        read = queries.one(statement, kind, tenant, identifier)
        return await self._read(read)

    # --- the worker's questions ----------------------------------------------------------------

    async def next_due_at(self) -> int | None:
        return await self._read(queries.next_due_at)

    async def expired(self, limit: int) -> list[Dispatch]:
        return await self._read(queries.expired(self._clock.now(), limit))

    async def claims_of_the_dead(self) -> list[Dispatch]:
        if self._lock is None:
            return []
        return await self._read(
            queries.several(sql.CLAIMS_OF_OTHERS, codec.DISPATCH, self.worker_id)
        )

    async def claims_of(self, worker_id: str) -> list[Dispatch]:
        return await self._read(queries.several(sql.CLAIMS_OF, codec.DISPATCH, worker_id))

    async def checkpoint(self, tenant: str, run_id: str) -> Checkpoint | None:
        return await self._read(queries.checkpoint(tenant, run_id))

    # --- readers' questions --------------------------------------------------------------------

    async def run(self, tenant: str, run_id: str) -> Run | None:
        return await self._one(sql.RUN, codec.RUN, tenant, run_id)

    async def runs(self, tenant: str, where: RunFilter, limit: int, key: str | None) -> Page:
        return await self._read(queries.runs(tenant, where, limit, key))

    async def thread(self, tenant: str, thread_id: str) -> Thread | None:
        return await self._one(sql.THREAD, codec.THREAD, tenant, thread_id)

    async def threads(
        self,
        tenant: str,
        limit: int,
        key: str | None,
        *,
        resource_id: str | None = None,
        parent_thread_id: str | None = None,
    ) -> Page:
        return await self._read(queries.threads(tenant, limit, key, resource_id, parent_thread_id))

    async def messages(
        self, tenant: str, thread_id: str, where: MessageFilter, limit: int, key: str | None
    ) -> Page:
        return await self._read(queries.messages(tenant, thread_id, where, limit, key))

    async def pending_entries(self, tenant: str, thread_id: str) -> list[PendingEntry]:
        return await self._read(queries.several(sql.PENDING, codec.PENDING, tenant, thread_id))

    async def head(self, tenant: str, thread_id: str) -> ThreadHead | None:
        return await self._read(queries.head(tenant, thread_id))

    async def heads(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
        return await self._read(queries.heads(keys))

    async def segments(
        self, tenant: str, thread_id: str, after: int, limit: int, run_id: str | None = None
    ) -> list[Segment]:
        return await self._read(queries.segments(tenant, thread_id, after, limit, run_id))

    async def dispatch(self, tenant: str, dispatch_id: str) -> Dispatch | None:
        return await self._one(sql.DISPATCH, codec.DISPATCH, tenant, dispatch_id)

    async def dispatches(self, tenant: str, thread_id: str, limit: int, key: str | None) -> Page:
        return await self._read(queries.dispatches(tenant, thread_id, limit, key))

    async def ticket(self, tenant: str, ticket_id: str) -> Ticket | None:
        return await self._one(sql.TICKET, codec.TICKET, tenant, ticket_id)

    async def tickets(self, tenant: str, where: TicketFilter, limit: int, key: str | None) -> Page:
        return await self._read(queries.tickets(tenant, where, limit, key))

    async def expired_tickets(self, limit: int) -> list[tuple[str, Ticket]]:
        return await self._read(queries.expired_tickets(self._clock.now(), limit))

    async def position(self, dispatch: Dispatch, limit: int = 1000) -> int:
        return await self._read(queries.position(dispatch, limit))

    async def count_due(self, limit: int) -> int:
        return await self._read(queries.count_due(limit))

    async def counts(self, tenant: str | None = None) -> DispatchCounts:
        return await self._read(queries.counts(tenant, self._clock.now()))

    # --- care ------------------------------------------------------------------------------------

    async def compactable(self, *, done_before: int, limit: int) -> list[Run]:
        return await self._read(queries.readable(sql.COMPACTABLE, codec.RUN, done_before, limit))

    async def compact(self, tenant: str, run_id: str, segments: Sequence[Segment]) -> None:
        span = (segments[0].first_seq, segments[-1].last_seq) if segments else (None, None)

        async def begin(tx: SqliteTransaction) -> bool:
            if not tx.log_is_as_written(tenant, run_id):
                return False
            assert tx.span(tenant, run_id) == span, "numbers never change"
            return True

        async def end(tx: SqliteTransaction) -> None:
            if tx.log_is_as_written(tenant, run_id):
                tx.mark_compacted(tenant, run_id)

        if not await self._writer.submit(begin):
            return
        # Each slice leaves the log whole, so a crash between two of them only means to do it again.
        for slice_ in _slices(segments):
            await self._writer.submit(
                partial(_compact_slice, tenant=tenant, run_id=run_id, segments=slice_)
            )
        await self._writer.submit(end)

    async def symptoms(self, *, late_before: int, limit: int) -> Symptoms:
        return await self._read(symptoms(late_before, limit))

    async def check(self) -> None:
        async def check(tx: SqliteTransaction) -> None:
            tx.probe()

        await self._writer.submit(check)


async def _compact_slice(
    tx: SqliteTransaction, *, tenant: str, run_id: str, segments: Sequence[Segment]
) -> None:
    if tx.log_is_as_written(tenant, run_id):  # else it was deleted meanwhile, and stays so
        tx.replace_segments(tenant, run_id, segments[0].first_seq - 1, segments)


def _slices(segments: Sequence[Segment]) -> Iterator[list[Segment]]:
    """`segments` in pieces of about `COMPACTION_SLICE` numbers, which hold no more old segments."""
    slice_: list[Segment] = []
    for segment in segments:
        slice_.append(segment)
        if segment.last_seq - slice_[0].first_seq >= COMPACTION_SLICE:
            yield slice_
            slice_ = []
    if slice_:
        yield slice_


def _open_files(path: str, holder: Holder | None) -> tuple[sqlite3.Connection, FileLock | None]:
    """The writer's connection, at the newest schema, and the lock if `holder` wants one."""
    if path == wal.MEMORY:
        return _connect(path), None
    lock = FileLock.take(f"{path}.lock", holder) if holder is not None else None
    try:
        _make(path)
        return _connect(path), lock
    except BaseException:
        if lock is not None:
            lock.release()
        raise


def _make(path: str) -> None:
    """Make the file if there is none, for its owner's eyes only; SQLite's other files follow it."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise faults.unavailable() from error


def _connect(path: str) -> sqlite3.Connection:
    try:
        connection = wal.connect(path)
        try:
            migrate(connection)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise faults.for_caller(error) from error
    return connection
