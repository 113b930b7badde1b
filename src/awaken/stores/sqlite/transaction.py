"""One operation's view of the database.

Records by key are kept for the length of the operation, read or written: a head that is read and
then put three times costs one select and one statement. What is put is written when a query could
miss it, or at the end. Nothing is written outside a savepoint, and an operation that writes nothing
has none.

No method suspends, so the writer thread runs an operation by a single step of its coroutine.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Final, TypeVar

from awaken.domain.agent import AgentSpec
from awaken.domain.delivery import PendingEntry
from awaken.domain.dispatch import Dispatch
from awaken.domain.event import Segment
from awaken.domain.line import LineRow
from awaken.domain.message import StoredMessage
from awaken.domain.note import Note, NoteKind
from awaken.domain.run import Run
from awaken.domain.thread import Thread, ThreadHead
from awaken.domain.ticket import Ticket
from awaken.ports.hints import Hint, LogGrew
from awaken.stores import codec
from awaken.stores.sqlite import rows
from awaken.stores.sqlite import statements as sql
from awaken.stores.sqlite.care import CareOfRows
from awaken.stores.sqlite.outbox import OutboxRows
from awaken.stores.sqlite.rules import RuleRows
from awaken.stores.sqlite.schedules import ScheduleRows

T = TypeVar("T")
Key = tuple[str, str]
Cache = dict[Key, T | None]

_BY_RANK: Final = attrgetter("rank", "dispatch_id")
_EVERYTHING: Final = -1


class SqliteTransaction(CareOfRows, ScheduleRows, OutboxRows, RuleRows):
    """`ports.store.Transaction` over the writer's connection, between its BEGIN and COMMIT.

    `hints` and `bound_bytes` (how much data was written) are for the writer.
    """

    __slots__ = (
        "_cursor",
        "_dispatches",
        "_heads",
        "_in_savepoint",
        "_line",
        "_new_dispatches",
        "_new_heads",
        "_new_runs",
        "_new_threads",
        "_runs",
        "_stored_dispatches",
        "_threads",
        "bound_bytes",
        "hints",
        "now",
    )

    def __init__(self, cursor: sqlite3.Cursor, now: int) -> None:
        self.now = now
        self.hints: list[Hint] = []
        self.bound_bytes = 0
        self._cursor = cursor
        self._in_savepoint = False
        self._heads: Cache[ThreadHead] = {}
        self._threads: Cache[Thread] = {}
        self._runs: Cache[Run] = {}
        self._dispatches: Cache[Dispatch] = {}
        self._new_heads: dict[Key, ThreadHead] = {}
        self._new_threads: dict[Key, Thread] = {}
        self._new_runs: dict[Key, Run] = {}
        self._new_dispatches: dict[Key, Dispatch] = {}
        self._stored_dispatches: dict[Key, Dispatch] = {}
        self._line: Cache[LineRow] = {}

    # --- rows by key -------------------------------------------------------------------------

    async def head(self, tenant: str, thread_id: str) -> ThreadHead | None:
        key = (tenant, thread_id)
        if key not in self._heads:
            row = self._cursor.execute(sql.HEAD, key).fetchone()
            self._heads[key] = rows.head(key, row) if row else None
        return self._heads[key]

    async def thread(self, tenant: str, thread_id: str) -> Thread | None:
        return self._cached(self._threads, sql.THREAD, codec.THREAD, (tenant, thread_id))

    async def run(self, tenant: str, run_id: str) -> Run | None:
        return self._cached(self._runs, sql.RUN, codec.RUN, (tenant, run_id))

    async def dispatch(self, tenant: str, dispatch_id: str) -> Dispatch | None:
        key = (tenant, dispatch_id)
        known = key in self._dispatches
        found = self._cached(self._dispatches, sql.DISPATCH, codec.DISPATCH, key)
        if found is not None and not known:
            self._stored_dispatches[key] = found
        return found

    def _cached(self, cache: Cache[T], statement: str, kind: codec.Codec[T], key: Key) -> T | None:
        if key not in cache:
            row = self._cursor.execute(statement, key).fetchone()
            cache[key] = kind.decode(row[0], key[1], key[0]) if row else None
        return cache[key]

    # --- rows by query -----------------------------------------------------------------------

    async def waiting_run(self, tenant: str, thread_id: str) -> Run | None:
        self._write_runs()
        found = self._select(sql.WAITING_RUN, (tenant, thread_id), codec.RUN)
        return found[0] if found else None

    async def live_dispatch_with(
        self, tenant: str, thread_id: str, dedupe_key: str
    ) -> Dispatch | None:
        found = self._select_dispatches(sql.LIVE_WITH_KEY, (tenant, thread_id, dedupe_key))
        return found[0] if found else None

    async def queued_foreground(self, tenant: str, thread_id: str, limit: int) -> list[Dispatch]:
        return self._select_dispatches(sql.QUEUED_FOREGROUND, (tenant, thread_id, limit))

    async def queued(self, tenant: str, thread_id: str, limit: int) -> list[Dispatch]:
        # Two walks along one index, merged: a second index would be written with every dispatch.
        both = self._queued(tenant, thread_id, 1, limit) + self._queued(tenant, thread_id, 0, limit)
        return sorted(both, key=_BY_RANK)[:limit]

    async def first_due(self, tenant: str, thread_id: str) -> Dispatch | None:
        found = self._queued(tenant, thread_id, 1, 1)
        return found[0] if found else None

    async def count_due(self, tenant: str, thread_id: str, limit: int) -> int:
        self._write_dispatches()
        counted = self._cursor.execute(sql.COUNT_DUE_OF, (tenant, thread_id, limit)).fetchone()
        return int(counted[0])

    def _queued(self, tenant: str, thread_id: str, due: int, limit: int) -> list[Dispatch]:
        return self._select_dispatches(sql.QUEUED, (tenant, thread_id, due, limit))

    async def undue(self, limit: int) -> list[Dispatch]:
        return self._select_dispatches(sql.UNDUE, (self.now, limit))

    async def next_in_line(self, *, foreground_only: bool) -> LineRow | None:
        self._write_line()
        statement = sql.NEXT_FOREGROUND_IN_LINE if foreground_only else sql.NEXT_IN_LINE
        row = self._cursor.execute(statement).fetchone()
        return rows.line(row) if row else None

    async def pending(
        self, tenant: str, thread_id: str, run_id: str | None = None
    ) -> list[PendingEntry]:
        if run_id is None:
            return self._select(sql.PENDING, (tenant, thread_id), codec.PENDING)
        return self._select(sql.PENDING_OF_RUN, (tenant, thread_id, run_id), codec.PENDING)

    async def pending_with(
        self, tenant: str, thread_id: str, message_ids: Sequence[str]
    ) -> list[PendingEntry]:
        wanted = codec.encode(sorted(set(message_ids))).decode()
        return self._select(sql.PENDING_WITH, (tenant, thread_id, wanted), codec.PENDING)

    async def messages_with(
        self, tenant: str, thread_id: str, message_ids: Sequence[str]
    ) -> list[StoredMessage]:
        wanted = codec.encode(sorted(set(message_ids))).decode()
        return self._select(sql.MESSAGES_WITH, (tenant, thread_id, wanted), codec.MESSAGE)

    async def messages_of_run(
        self, tenant: str, thread_id: str, run_id: str, after: int = 0
    ) -> list[StoredMessage]:
        parameters = (tenant, thread_id, run_id, after)
        return self._select(sql.MESSAGES_OF_RUN, parameters, codec.MESSAGE)

    async def messages_after(
        self, tenant: str, thread_id: str, after: int, limit: int
    ) -> list[StoredMessage]:
        return self._select(sql.MESSAGES_AFTER, (tenant, thread_id, after, limit), codec.MESSAGE)

    async def segments_of(self, tenant: str, run_id: str, after: int) -> list[Segment]:
        self._cursor.execute(sql.SEGMENTS_OF_RUN, (tenant, run_id, after, _EVERYTHING))
        return [rows.segment(tenant, row) for row in self._cursor.fetchall()]

    async def open_tickets(self, tenant: str, run_id: str) -> list[Ticket]:
        return self._select(sql.OPEN_TICKETS, (tenant, run_id), codec.TICKET)

    def _select_dispatches(self, statement: str, parameters: tuple[object, ...]) -> list[Dispatch]:
        self._write_dispatches()
        found = self._select(statement, parameters, codec.DISPATCH)
        for dispatch in found:  # what is selected is mostly asked for by its id next
            self._dispatches[dispatch.tenant, dispatch.dispatch_id] = dispatch
        return found

    async def ticket(self, tenant: str, ticket_id: str) -> Ticket | None:
        row = self._cursor.execute(sql.TICKET, (tenant, ticket_id)).fetchone()
        return codec.TICKET.decode(row[0], ticket_id) if row else None

    async def note(self, tenant: str, kind: NoteKind, key: str) -> Note | None:
        row = self._cursor.execute(sql.NOTE, (tenant, kind.value, key)).fetchone()
        return codec.NOTE.decode(row[0], key, tenant) if row else None

    def _select(
        self, statement: str, parameters: tuple[object, ...], kind: codec.Codec[T]
    ) -> list[T]:
        """The records of a statement that selects (id, data), or (tenant, id, data)."""
        found = self._cursor.execute(statement, parameters).fetchall()
        return [kind.decode(row[-1], row[-2], row[0] if len(row) > 2 else None) for row in found]

    # --- writes ------------------------------------------------------------------------------

    def put_head(self, head: ThreadHead) -> None:
        key = (head.tenant, head.thread_id)
        self._heads[key] = self._new_heads[key] = head

    def put_thread(self, thread: Thread) -> None:
        key = (thread.tenant, thread.thread_id)
        self._threads[key] = self._new_threads[key] = thread

    def put_run(self, run: Run) -> None:
        key = (run.tenant, run.run_id)
        self._runs[key] = self._new_runs[key] = run

    def put_dispatch(self, dispatch: Dispatch) -> None:
        key = (dispatch.tenant, dispatch.dispatch_id)
        self._dispatches[key] = self._new_dispatches[key] = dispatch

    def set_line(self, tenant: str, thread_id: str, row: LineRow | None) -> None:
        self._line[tenant, thread_id] = row

    def put_pending(self, entry: PendingEntry) -> None:
        self._write(sql.PUT_PENDING, rows.of_pending(entry))

    def delete_pending(self, tenant: str, thread_id: str, message_ids: Sequence[str]) -> None:
        for message_id in message_ids:
            self._write(sql.DELETE_PENDING, (tenant, thread_id, message_id))

    def put_message(self, tenant: str, message: StoredMessage) -> None:
        self._write(sql.PUT_MESSAGE, rows.of_message(tenant, message))

    def append(self, segment: Segment) -> None:
        self._write(sql.APPEND, rows.of_segment(segment))
        self.hints.append(LogGrew(segment=segment))

    def put_ticket(self, tenant: str, ticket: Ticket) -> None:
        self._write(sql.PUT_TICKET, rows.of_ticket(tenant, ticket))

    def put_note(self, note: Note) -> None:
        key = (note.tenant, note.kind.value, note.key)
        self._write(sql.PUT_NOTE, (*key, note.expires_at, codec.encode(note)))

    def put_resolution(self, tenant: str, resolution_id: str, spec: AgentSpec) -> None:
        self._write(sql.PUT_RESOLUTION, (tenant, resolution_id, codec.encode(spec)))

    def hint(self, hint: Hint) -> None:
        self.hints.append(hint)

    # --- the end of the operation --------------------------------------------------------------

    def finish(self) -> None:
        """Write what is left, and keep it."""
        for head in self._new_heads.values():
            self._write(sql.PUT_HEAD, rows.of_head(head))
        self._flush()
        self._write_line()
        if self._in_savepoint:
            self._cursor.execute("release operation")

    def undo(self) -> None:
        """Undo what was written, this operation's alone. The transaction must still be open."""
        if self._in_savepoint:
            self._cursor.execute("rollback to operation")
            self._cursor.execute("release operation")

    def _flush(self) -> None:
        """Write all that a query could miss."""
        for thread in self._new_threads.values():
            self._write(sql.PUT_THREAD, rows.of_thread(thread))
        self._new_threads.clear()
        self._write_dispatches()
        self._write_runs()

    def _write_runs(self) -> None:
        for run in self._new_runs.values():
            self._write(sql.PUT_RUN, rows.of_run(run))
        self._new_runs.clear()

    def _write_dispatches(self) -> None:
        for key, dispatch in self._new_dispatches.items():
            stored = self._stored_dispatches.get(key)
            if stored is not None and rows.differ_in_data_only(stored, dispatch):
                # What every append does; ten indexes stay as they are.
                data = codec.encode(dispatch)
                self._write(sql.PUT_DISPATCH_DATA, (dispatch.updated_at, *key, data))
            else:
                self._write(sql.PUT_DISPATCH, rows.of_dispatch(dispatch, self.now))
            self._stored_dispatches[key] = dispatch
        self._new_dispatches.clear()

    def _write_line(self) -> None:
        for key, row in self._line.items():
            if row is None:
                self._write(sql.LEAVE_LINE, key)
            else:
                self._write(sql.PUT_LINE, rows.of_line(row))
        self._line.clear()

    def _forget_thread(self, tenant: str, thread_id: str) -> None:
        """What was put of the thread is not written any more; its line is left."""
        key = (tenant, thread_id)
        self._heads[key] = self._threads[key] = self._line[key] = None
        self._new_heads.pop(key, None)
        self._new_threads.pop(key, None)

    def _forget_dispatch(self, tenant: str, dispatch_id: str) -> None:
        self._new_dispatches.pop((tenant, dispatch_id), None)
        self._dispatches.pop((tenant, dispatch_id), None)

    def _forget_run(self, tenant: str, run_id: str) -> None:
        self._new_runs.pop((tenant, run_id), None)
        self._runs.pop((tenant, run_id), None)

    def _write(self, statement: str, parameters: tuple[object, ...]) -> None:
        if not self._in_savepoint:
            self._cursor.execute("savepoint operation")
            self._in_savepoint = True
        self._cursor.execute(statement, parameters)
        # The record, where there is one, is a row's last column.
        data = parameters[-1]
        if type(data) is bytes:
            self.bound_bytes += len(data)

    # --- operations of the store itself ----------------------------------------------------------

    def read(self, read: Callable[[sqlite3.Cursor], T]) -> T:
        """What `read` finds, the writes of operations before it in the same commit included."""
        return read(self._cursor)

    def span(self, tenant: str, run_id: str) -> tuple[int | None, int | None]:
        """The first and the last number of the run's log; None when it is empty."""
        first, last = self._cursor.execute(sql.RUN_SPAN, (tenant, run_id)).fetchone()
        return first, last

    def replace_segments(
        self, tenant: str, run_id: str, after: int, segments: Sequence[Segment]
    ) -> None:
        """Put `segments` in the place of the run's that end behind `after` and not behind them."""
        self._write(sql.DELETE_SEGMENTS, (tenant, run_id, after, segments[-1].last_seq))
        for segment in segments:
            self._write(sql.APPEND, rows.of_segment(segment))

    def mark_compacted(self, tenant: str, run_id: str) -> None:
        self._write(sql.MARK_COMPACTED, (tenant, run_id))

    def probe(self) -> None:
        self._write(sql.PROBE, (self.now,))
